// Package page is the web page of the read API: a search by order_uid, one
// order shown for people and as JSON, and the newest orders.
//
// There is one source of rendering, the templates of this package. Without
// JavaScript the page is a form and links, and the address carries the whole
// state (/?uid=…&view=json). The script only saves reloads: it asks for the
// same address with fragment=1, which is the inside of <main>, and exchanges
// the parts that changed. So amounts, words and escaping exist once.
//
// Everything that the page loads is embedded and served from this origin; the
// Content-Security-Policy allows nothing else.
package page
