package console

import (
	"fmt"
	"html/template"
	"strings"
	"unicode/utf8"

	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

// clean makes text harmless to show: what would move, hide or turn the text
// around it is shown as an escape. Rendering does the rest.
func clean(text string) string { return dlqview.Clean(text) }

// longestBrief is the longest of texts that are to be names, in bytes.
const longestBrief = 120

// brief is clean for what is to be a name: who writes letters by hand may have
// put a novel there.
func brief(text string) string {
	text = clean(text)
	if len(text) <= longestBrief {
		return text
	}
	cut := longestBrief
	for !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// Sizes of a curve, in the units of its own picture.
const (
	curveHeight = 28
	curveStep   = 4
	curveGap    = 1
)

// curve draws counts as a picture of bars. It holds numbers only.
func curve(counts []int, label string) template.HTML {
	most, all := 1, 0
	for _, n := range counts {
		most = max(most, n)
		all += n
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="curve" viewBox="0 0 %d %d" preserveAspectRatio="none" role="img" aria-label="%s">`,
		len(counts)*curveStep, curveHeight, template.HTMLEscapeString(fmt.Sprintf("%s: %s, at most %s in a bar", label, dlqview.Plural(all, "letter"), dlqview.Number(most))))
	fmt.Fprintf(&b, `<path class="ground" d="M0 %gH%d"/>`, curveHeight-.5, len(counts)*curveStep)
	for i, n := range counts {
		if n == 0 {
			continue
		}
		height := max(2, n*curveHeight/most)
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d"/>`, i*curveStep, curveHeight-height, curveStep-curveGap, height)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // numbers, and a label that is escaped
}
