// Package page is the web page of the read API: a search by order_uid, track
// number or customer, lists with filters that follow what arrives, and one
// order shown for people and as JSON.
//
// There is one source of rendering, the templates of this package. Without
// JavaScript the page is forms and links, and the address carries the whole
// state:
//
//	/?uid=…&view=json          an order, as JSON
//	/?q=…                      a search; it leads to one of the others
//	/?customer_id=…&cursor=…   a list, its filters and where it goes on
//
// The scripts only save reloads: they ask for the same address with fragment=1,
// which is the inside of <main>, and exchange the parts that changed. So amounts,
// words and escaping exist once. What has changed is told by the stream of
// changes; it rings, and the page asks.
//
// Everything that the page loads is embedded and served from this origin; the
// Content-Security-Policy allows nothing else. Its look is that of package web, which
// the dead-letter console has too.
package page
