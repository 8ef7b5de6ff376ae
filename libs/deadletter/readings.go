package deadletter

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"

	"github.com/orderhub/orderhub/libs/platform/pasted"
)

// OrderUIDs are the order_uids that a record may have, which may be broken. The key counts
// where the value has none: it may be something else, such as a shop.
func OrderUIDs(key, value []byte) []string {
	uids := Readings(value, "order_uid")
	if len(uids) == 0 && len(key) > 0 {
		uids = readings(string(key))
	}
	return uids
}

// encoded is what may be JSON in base64, whose usual alphabet standard gives.
var (
	encoded  = regexp.MustCompile(`[A-Za-z0-9+/]{24,}`)
	standard = strings.NewReplacer(`\/`, "/", "-", "+", "_", "/")
	number   = regexp.MustCompile(`^-?[0-9]+`)
)

// Readings are the texts and integers that a record may have as a member, also if it is
// broken, in UTF-16, or is JSON in a text or in base64. What nobody sees in a text makes no
// difference: that may be why the record failed.
func Readings(value []byte, member string) (found []string) {
	value = bytes.ReplaceAll(value, []byte{0}, nil) // UTF-16's
	for _, run := range encoded.FindAllString(standard.Replace(string(value)), -1) {
		inside := make([]byte, base64.RawStdEncoding.DecodedLen(len(run)))
		n, _ := base64.RawStdEncoding.Decode(inside, []byte(run)) // as far as it is base64
		found = append(found, Readings(inside[:n], member)...)
	}
	for rest := value; ; {
		i := bytes.Index(rest, []byte(member))
		if i < 0 {
			return found
		}
		rest = rest[i+len(member):]
		after, named := afterQuote(rest)
		after, colon := bytes.CutPrefix(bytes.TrimLeft(after, " \t\r\n"), []byte(":"))
		after = bytes.TrimLeft(after, " \t\r\n")
		if !named || !colon {
			continue
		}
		text, begins := afterQuote(after)
		raw, _, closed := bytes.Cut(text, []byte(`"`))
		switch {
		case begins && closed:
			found = append(found, readings(strings.TrimRight(string(raw), `\`))...)
		case !begins:
			found = append(found, number.FindAllString(string(after[:min(len(after), 64)]), 1)...)
		}
	}
}

// afterQuote is what follows a quotation mark, which is escaped in JSON in a text.
func afterQuote(text []byte) (rest []byte, is bool) {
	return bytes.CutPrefix(bytes.TrimLeft(text, `\`), []byte(`"`))
}

// readings are a text as it is, without escapes, and without what nobody sees.
func readings(raw string) []string {
	text := raw
	if strings.Contains(raw, `\`) && json.Unmarshal([]byte(`"`+raw+`"`), &text) != nil {
		text = raw
	}
	return slices.Compact([]string{raw, text, pasted.Clean(text)})
}
