// Package page is the web page of the read API: a search by order_uid, track
// number or customer, lists with filters that follow what arrives, and one
// order shown for people and as JSON.
//
// There is one source of rendering, the templates of this package. Without
// JavaScript the page is forms and links. The address holds the whole state:
//
//	/?uid=…&view=json          an order, as JSON
//	/?q=…                      a search; it redirects to one of the others
//	/?customer_id=…&cursor=…   a list, its filters and the part shown
//
// The scripts only save reloads: they request the same address with fragment=1, which
// is the content of <main>, and replace the parts that changed. So amounts, words and
// escaping exist once. The stream of changes says when to request it.
//
// Everything that the page loads is embedded and served from this origin; the
// Content-Security-Policy allows nothing else. It shares its look, of package web, with
// the dead-letter console.
package page
