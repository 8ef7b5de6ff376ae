package deadletter

import (
	"bytes"
	"encoding/json"
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

// Readings are the texts that a record may have as a member, also if it is broken, or is
// JSON in a text. What nobody sees in a text makes no difference: that may be why the
// record failed.
func Readings(value []byte, member string) (found []string) {
	for rest := value; ; {
		i := bytes.Index(rest, []byte(member))
		if i < 0 {
			return found
		}
		rest = rest[i+len(member):]
		after, named := afterQuote(rest)
		after, colon := bytes.CutPrefix(bytes.TrimLeft(after, " \t\r\n"), []byte(":"))
		text, begins := afterQuote(bytes.TrimLeft(after, " \t\r\n"))
		if !named || !colon || !begins {
			continue
		}
		if raw, _, closed := bytes.Cut(text, []byte(`"`)); closed {
			found = append(found, readings(strings.TrimRight(string(raw), `\`))...)
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
