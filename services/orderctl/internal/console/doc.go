// Package console is the web console for dead letters: an overview by cause,
// lists, single letters, and what can be done with them.
//
// All HTML comes from the templates of this package, and the address carries
// what is shown, so everything but the checking of a value as one types works
// without JavaScript. The script asks for the same address again and exchanges
// the parts that changed.
//
// Three things hold what the pages show: [live] follows the topic and keeps an
// index of it, without values; the store reads single letters again where their
// values are shown; [jobs] are what was begun on letters, in memory. The topic
// is the only thing that is written, but for the audit log.
//
// Every request passes the [guard]: the name by which the console is called,
// where a request comes from, and who is signed in are settled there, and
// nowhere else.
package console
