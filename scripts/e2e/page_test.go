package e2e

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/browser"
)

// A person looks an order up that came through Kafka, asks for one that is not
// there, and sees a new one appear.
func TestThePageOnTheWholePipeline(t *testing.T) {
	chromium := browser.ForTest(t)
	p := newPipeline(t)
	p.worker()
	reader := p.reader()
	record := sample(t, "model.json")
	p.orderctl(record, "publish", "--file", "-")
	p.seen(reader, "b563feb7b2b84b6test", canonical(t, record))

	w := browser.Open(chromium, t, func(p browser.Problem) bool {
		// That a page which is shown has a status of 400 or more is no error of it.
		return p.Source == "network" && strings.Contains(p.URL, "/?") && !strings.Contains(p.URL, "fragment=1")
	})
	search := func(text string) { w.Type("#q", text+kb.Enter) }
	w.Visit("http://"+reader.addr+"/", "#newest")
	w.Until("document.querySelector('#newest').innerText.includes('b563feb7b2b84b6test')")
	search("WBILMTESTTRACK")
	w.Until("document.querySelector('#result h1')?.innerText === 'b563feb7b2b84b6test'")
	for _, want := range []string{"Test Testov", "Kiryat Mozkin", "18.17 USD", "Mascaras", "Vivienne Sabo", "WBILMTESTTRACK", "Paid"} {
		require.Contains(t, w.Text("#result"), want)
	}
	w.Picture("sample-order")
	search("never-there")
	w.Until("document.querySelector('#result').innerText.includes('Nothing is stored under never-there')")

	// What is published, or changed by hand, is seen at once: the stream tells it.
	uids := p.publishSynthetic("--seed", "3")
	w.Until("document.querySelector('#newest').innerText.includes('" + uids[0] + "')")
	search("b563feb7b2b84b6test")
	w.Until("document.querySelector('#result h1')?.innerText === 'b563feb7b2b84b6test'")
	p.exec("UPDATE deliveries SET city = 'Jerusalem' WHERE order_uid = 'b563feb7b2b84b6test'")
	w.Until("document.querySelector('#result').innerText.includes('Jerusalem')")
	p.exec("DELETE FROM orders WHERE order_uid = 'b563feb7b2b84b6test'")
	w.Until("document.querySelector('#result').innerText.includes('No order b563feb7b2b84b6test is stored')")
	p.exec("TRUNCATE orders CASCADE")
	w.Until("document.querySelector('#newest').innerText.includes('No orders are stored yet')")

	// The field knows what is stored.
	again := p.publishSynthetic("--seed", "4")
	w.Until("document.querySelector('#newest').innerText.includes('" + again[0] + "')")
	w.Type("#q", again[0][:len(again[0])-1])
	w.Until("document.querySelector('#suggestions').innerText.includes('" + again[0] + "')")
	w.Press(kb.ArrowDown)
	w.Key("Enter")
	w.Until("document.querySelector('#result h1')?.innerText === '" + again[0] + "'")
}
