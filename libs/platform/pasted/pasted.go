// Package pasted reads what people paste where an order's uid, another id or a text is
// asked for: with characters that nobody sees, in quotes, or as an address of ours.
package pasted

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/orderhub/orderhub/libs/model"
)

// Clean removes what comes along when copying and nobody sees: characters without a
// width, directional marks, control characters, and all kinds of white space around the
// text. Bytes that are not UTF-8 become U+FFFD.
func Clean(text string) string {
	plain := true
	for i := range len(text) {
		plain = plain && text[i] > ' ' && text[i] < 0x7f
	}
	if plain {
		return text
	}
	text = strings.Map(func(r rune) rune {
		switch {
		case blank(r):
			return ' '
		case unseen(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
	return strings.TrimSpace(text)
}

// Trim is Clean at both ends only, for texts in which such characters may mean something.
func Trim(text string) string {
	return strings.TrimFunc(strings.ToValidUTF8(text, "\ufffd"), func(r rune) bool { return blank(r) || unseen(r) })
}

func blank(r rune) bool { return unicode.IsSpace(r) || r == '\u2800' } // of braille

func unseen(r rune) bool {
	return model.IsInvisible(r) || unicode.IsControl(r) || unicode.Is(unicode.Variation_Selector, r)
}

// around is what stands around a text without belonging to it: quotes of all kinds,
// brackets, and the signs after it in a sentence or in JSON.
const around = "\"'`´«»‹›‘’‚‛“”„‟〝〞〟「」『』＂＇′″<>()[]{}.,;:!? "

var (
	member    = regexp.MustCompile(`"?order_uid"?\s*[:=]\s*["']?([^"',}\s]+)`)
	parameter = regexp.MustCompile(`[?&](?:uid|id|q|customer_id|track_number)=([^&#\s"'<>)]+)`)
	place     = regexp.MustCompile(`/(?:order|api/v1/orders)/([^/?#&\s"'<>)]+)`)
	dashes    = strings.NewReplacer("‐", "-", "‑", "-", "‒", "-", "–", "-", "−", "-", "－", "-")
)

// Readings are what a text may mean, the likeliest first: as it was typed, then without
// what nobody sees, then without what stands around it, then what an address of a page,
// the API or the console in it names, and last with hyphens for dashes that programs put
// in their place. There is at least one.
func Readings(text string) []string {
	all := []string{strings.TrimSpace(text)}
	add := func(reading string) {
		if reading != "" && !slices.Contains(all, reading) {
			all = append(all, reading)
		}
	}
	bare := Clean(text)
	add(bare)
	add(strings.Trim(bare, around))
	for _, part := range []*regexp.Regexp{member, parameter, place} {
		if found := part.FindStringSubmatch(bare); found != nil {
			unescape := url.QueryUnescape
			if part == place {
				unescape = url.PathUnescape
			}
			if named, err := unescape(found[1]); err == nil {
				named = Clean(named)
				add(named)
				add(strings.Trim(named, around))
			}
		}
	}
	add(dashes.Replace(all[len(all)-1]))
	return all
}

// Choose is the first reading that is what is asked for. Without one it is the text
// without what nobody sees.
func Choose(text string, is func(string) bool) string {
	for _, reading := range Readings(text) {
		if is(reading) {
			return reading
		}
	}
	return Clean(text)
}
