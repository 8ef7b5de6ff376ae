package console

import (
	"fmt"
	"html/template"
	"strings"
	"unicode/utf8"

	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

// clean makes text safe to show: characters that would move, hide or reverse the text
// around them become escapes. The templates escape HTML.
func clean(text string) string { return dlqview.Clean(text) }

// longestBrief is the longest name that is shown whole, in bytes.
const longestBrief = 120

// brief is clean for names. Letters that somebody wrote by hand may have very long ones.
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

// curve draws counts as an SVG of bars.
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
