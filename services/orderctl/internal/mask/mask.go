// Package mask hides personal data in dead letters. Its default is to hide: it
// shows the structure of a record, the fields of an order that are neither personal
// nor free text and whose content looks as it should (see codes and numbers), and
// names made of known words. Everything else is masked, whatever it is called.
package mask

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
)

const (
	// Hidden stands for a masked value, as JSON.
	Hidden = `"***"`
	// Name stands for a masked name, id or label.
	Name = "***"
)

// Value masks a record's value. JSON stays JSON; other text and bytes keep their
// length, so that offsets into them stay right. Nil stays nil.
func Value(value []byte) []byte {
	switch {
	case value == nil:
		return nil
	case json.Valid(value):
		return maskJSON(value, 0)
	case json.Valid(bytes.TrimPrefix(value, []byte(model.ByteOrderMark))):
		return append([]byte(model.ByteOrderMark), maskJSON(value[len(model.ByteOrderMark):], 0)...)
	case IsBinary(value):
		return Binary(value)
	}
	return Text(value)
}

// maxNested is how deep JSON within strings of JSON is looked into.
const maxNested = 4

func maskJSON(value []byte, nested int) []byte {
	m := masker{decoder: json.NewDecoder(bytes.NewReader(value)), data: value, nested: nested}
	m.decoder.UseNumber()
	m.value("", false)
	return append(m.out, value[m.copied:]...)
}

// masker copies valid JSON and replaces what must not be shown.
type masker struct {
	decoder *json.Decoder
	data    []byte
	nested  int
	out     []byte
	copied  int
}

// value masks the value of a field; hide says that the field, or one around it, is
// personal.
func (m *masker) value(field string, hide bool) {
	before := int(m.decoder.InputOffset())
	token, err := m.decoder.Token()
	if err != nil {
		return // the caller has checked that it is valid
	}
	switch token := token.(type) {
	case json.Delim:
		for m.decoder.More() {
			if token == '[' {
				m.value(field, hide)
				continue
			}
			at := int(m.decoder.InputOffset())
			name, _ := m.decoder.Token()
			text, _ := name.(string)
			if !isName(text) {
				m.replace(at, []byte(Hidden))
			}
			m.value(text, hide || personal(text))
		}
		_, _ = m.decoder.Token()
	case string:
		if shown := m.text(field, token, hide); shown != nil {
			m.replace(before, shown)
		}
	case json.Number:
		if !number(field, token.String(), hide) {
			m.replace(before, []byte(Hidden))
		}
	}
}

// text gives what is shown instead of a string; nil: the string as it is.
func (m *masker) text(field, text string, hide bool) []byte {
	switch inner := []byte(strings.TrimSpace(text)); {
	case shownText(field, text, hide):
		return nil
	case !hide && m.nested < maxNested && len(inner) > 0 && strings.ContainsRune(`{["`, rune(inner[0])) && json.Valid(inner):
		quoted, err := json.Marshal(string(maskJSON(inner, m.nested+1)))
		if err == nil {
			return quoted
		}
	}
	return []byte(Hidden)
}

func shownText(field, text string, hide bool) bool {
	code := codes[field]
	return text == "" || !hide && code != nil && code(text)
}

func number(field, digits string, hide bool) bool {
	known := numbers[field]
	return !hide && known != nil && known(digits)
}

// replace puts text in the place of the token that was just read.
func (m *masker) replace(before int, text []byte) {
	end := int(m.decoder.InputOffset())
	start := before + len(m.data[before:end]) - len(bytes.TrimLeft(m.data[before:end], " \t\r\n:,"))
	m.out = append(append(m.out, m.data[m.copied:start]...), text...)
	m.copied = end
}

// Scalar masks a JSON value, or text that isn't JSON, that stands at a path of an
// object, by the names and positions that lead to it. Empty stays empty.
func Scalar(path []string, raw string) string {
	if raw == "" {
		return ""
	}
	if !json.Valid([]byte(raw)) {
		return string(Value([]byte(raw)))
	}
	field, hide := fieldOf(path)
	if hide {
		return Hidden
	}
	named, err := json.Marshal(map[string]json.RawMessage{field: json.RawMessage(raw)})
	if err != nil {
		return Hidden
	}
	masked := maskJSON(named, 0)
	return string(masked[bytes.IndexByte(masked, ':')+1 : len(masked)-1])
}

// Shows reports whether the field to which names and positions lead is one that is shown
// where its content looks as it should.
func Shows(path []string) bool {
	field, hide := fieldOf(path)
	return !hide && (codes[field] != nil || numbers[field] != nil)
}

// fieldOf is the last name on a path of names and positions; hide says that one of them is
// personal.
func fieldOf(path []string) (field string, hide bool) {
	for _, name := range path {
		hide = hide || personal(name)
		if strings.Trim(name, "0123456789[]") != "" {
			field = name
		}
	}
	return field, hide
}

// Path masks the names in a path, such as items[2].price, that are not known.
func Path(path string) string {
	names := strings.Split(path, ".")
	for i, name := range names {
		bare, index, _ := strings.Cut(name, "[")
		if bare != "" && bare != "?" && !isName(bare) {
			names[i] = Name
			if index != "" && matcherIndex(index) {
				names[i] += "[" + index
			}
		}
	}
	return strings.Join(names, ".")
}

var matcherIndex = matcher(`[0-9]*\](\[[0-9]*\])*`)

var (
	// member is a field with a scalar value, in text that need not be JSON.
	member = regexp.MustCompile(`"([A-Za-z_]+)"[ \t]*:[ \t]*(?:"([^"\\]*)"|(-?[0-9][0-9.]*))`)
	run    = regexp.MustCompile(`[^\s{}\[\]":,'=;<>()\\/&?|]+`)
	// named follows a name.
	named = regexp.MustCompile(`^\\?["']?[ \t]*[:=]`)
)

// Text masks text that is not JSON, and keeps its length. Punctuation, names of
// fields and the fields that Value shows stay.
func Text(text []byte) []byte {
	kept := make([]bool, len(text))
	keep := func(from, to int) {
		for i := from; i < to; i++ {
			kept[i] = true
		}
	}
	for _, at := range member.FindAllSubmatchIndex(text, -1) {
		name := string(text[at[2]:at[3]])
		if at[4] >= 0 && shownText(name, string(text[at[4]:at[5]]), personal(name)) {
			keep(at[4], at[5])
		}
		if at[6] >= 0 && number(name, string(text[at[6]:at[7]]), personal(name)) {
			keep(at[6], at[7])
		}
	}
	masked := bytes.Clone(text)
	for _, at := range run.FindAllIndex(text, -1) {
		word := string(text[at[0]:at[1]])
		inTag := at[0] > 0 && bytes.HasPrefix(text[at[1]:], []byte(">")) && strings.ContainsRune("</", rune(text[at[0]-1]))
		if word == "true" || word == "false" || word == "null" || (inTag || named.Match(text[at[1]:])) && isName(word) {
			keep(at[0], at[1])
		}
		for i := at[0]; i < at[1]; i++ {
			if !kept[i] {
				masked[i] = '*'
			}
		}
	}
	for i, c := range masked {
		if c == '\\' && !kept[i] {
			masked[i] = '*'
		}
	}
	return masked
}

// All masks all of a text, such as a record's key, and keeps its length. Nil stays nil.
func All(text []byte) []byte {
	if text == nil {
		return nil
	}
	return bytes.Repeat([]byte("*"), len(text))
}

// IsBinary is true of bytes of which many are no text.
func IsBinary(value []byte) bool {
	strange, runes := 0, 0
	for rest := value[:min(len(value), 4096)]; len(rest) > 0; runes++ {
		r, n := utf8.DecodeRune(rest)
		if r == utf8.RuneError && n == 1 || unicode.IsControl(r) && !unicode.IsSpace(r) {
			strange++
		}
		rest = rest[n:]
	}
	return strange*5 > runes
}

// Binary masks bytes that are no text, but for control characters: any other may be
// a character of some encoding. It keeps the length.
func Binary(data []byte) []byte {
	masked := bytes.Clone(data)
	for i, c := range masked {
		if c >= 0x20 {
			masked[i] = '*'
		}
	}
	return masked
}

// codes says for each text field of an order that may be shown which contents may
// be. All other texts are masked.
var codes = map[string]func(string) bool{
	"order_uid":        IsUID,
	"rid":              IsUID,
	"track_number":     matcher(`[A-Z0-9]{0,24}[A-Z][A-Z0-9]{3,24}`),
	"entry":            matcher(`[A-Z]{2,8}`),
	"locale":           func(s string) bool { return locale(s) || languages[s] },
	"currency":         matcher(`[A-Z]{3}`),
	"provider":         has(companies),
	"bank":             has(companies),
	"delivery_service": has(companies),
	"shardkey":         matcher(`[0-9]{1,4}`),
	"oof_shard":        matcher(`[0-9]{1,4}`),
	"size":             matcher(`[0-9]{1,3}([/x][0-9]{1,3})?|X{0,3}[SML]`),
	"date_created":     func(s string) bool { _, err := time.Parse(time.RFC3339Nano, s); return err == nil },
}

// numbers says the same for the number fields. A number of ten digits or more may
// be a telephone number, so only a time of the years 2001 to 2033 may be that long.
var numbers = map[string]func(string) bool{
	"amount": amount, "delivery_cost": amount, "goods_total": amount, "custom_fee": amount, "price": amount, "total_price": amount,
	"sm_id": amount, "chrt_id": amount, "nm_id": amount, "sale": amount, "status": amount,
	"payment_dt": matcher(`1[0-9]{9}`),
}

// personal are the fields of which everything is masked, with what is in them.
var personal = has(words(`name phone email e-mail mail address zip city region delivery customer customer_id transaction contact
	recipient person user client buyer`))

var (
	amount = matcher(`-?[0-9]{1,9}(\.[0-9]{1,4})?`)
	locale = matcher(`[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?`)
)

//go:embed words.txt
var wordFile string

var (
	// vocabulary are the words that names of fields and headers, and messages of other
	// services, may be shown with. None of them says anything about a person.
	vocabulary = section("vocabulary")
	companies  = section("companies")
	languages  = section("languages")
)

// section is a list of the embedded file.
func section(name string) map[string]bool {
	_, rest, _ := strings.Cut(wordFile, "["+name+"]")
	list, _, _ := strings.Cut(rest, "[")
	return words(list)
}

func words(list string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(list) {
		set[word] = true
	}
	return set
}

func has(set map[string]bool) func(string) bool {
	return func(s string) bool { return set[strings.ToLower(s)] }
}

func matcher(pattern string) func(string) bool {
	return regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString
}

var (
	idDigits = regexp.MustCompile(`[0-9]`)
	idNumber = matcher(`[-_.0-9]{7,}`)
)

// IsUID says whether an order_uid looks like an identifier, and so is shown: it has a digit, is
// not a long number, which may be a telephone number, and has no part that may be a name.
func IsUID(s string) bool {
	if !model.IsOrderUID(s) || !idDigits.MatchString(s) || idNumber(s) {
		return false
	}
	for part := range strings.FieldsFuncSeq(s, func(r rune) bool { return strings.ContainsRune("-_.", r) }) {
		if len(part) >= 3 && !idDigits.MatchString(part) && !vocabulary[strings.ToLower(part)] {
			return false
		}
	}
	return true
}

// isName says whether a name of a field or header is made of known words alone, as
// customer_name, customerName or X-Request-Id are.
func isName(name string) bool {
	known := false
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return strings.ContainsRune("-_.", r) }) {
		for _, word := range camelWords(part) {
			if word = strings.TrimRight(strings.ToLower(word), "0123456789"); !vocabulary[word] {
				return false
			}
			known = true
		}
	}
	const longest = 80
	return known && len(name) <= longest
}

// camelWords splits orderUid and OrderUID.
func camelWords(name string) (parts []string) {
	runes := []rune(name)
	start := 0
	for i := 1; i < len(runes); i++ {
		if unicode.IsUpper(runes[i]) && !unicode.IsUpper(runes[i-1]) {
			parts = append(parts, string(runes[start:i]))
			start = i
		}
	}
	return append(parts, string(runes[start:]))
}

var (
	letterID  = matcher(`[A-Za-z0-9._-]{1,249}/[0-9]{1,10}/[0-9]{1,19}(/[0-9a-f]{8})?|nats/[A-Za-z0-9_-]{1,249}/[0-9]{1,19}/[0-9a-f]{8}|erased/[0-9a-f]{32}`)
	label     = matcher(`[A-Za-z_$][A-Za-z0-9_$.-]{0,248}`)
	decimal   = matcher(`[0-9]{1,19}`)
	timestamp = matcher(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}(Z|[+-][0-9:]{5})`)
	// traceID needs a letter: a number may be a telephone number.
	traceID   = matcher(`[0-9a-f]*[a-f][0-9a-f]*(-[0-9a-f]+)*`)
	mediaType = has(words(`application/json application/xml application/avro application/octet-stream application/x-protobuf
		application/cloudevents+json text/plain text/plain;charset=utf-8 application/json;charset=utf-8`))
)

// ID masks what is not of the form of a letter's id, or of an erased order's: a letter that
// somebody else wrote may have any key.
func ID(id string) string {
	if id == "" || letterID(id) {
		return id
	}
	return Name
}

// Label masks what is no name of a topic, group, class, reason, stage or rule.
func Label(text string) string {
	if text == "" || label(text) {
		return text
	}
	return Name
}

// Errors masks the names of fields that are not known in failures. Our own messages
// never hold a value of the record.
func Errors(failures []model.FieldError) []model.FieldError {
	masked := make([]model.FieldError, len(failures))
	for i, f := range failures {
		masked[i] = model.FieldError{Path: Path(f.Path), Rule: Label(f.Rule), Message: f.Message}
	}
	return masked
}

// HeaderName masks a header's name that is not made of known words.
func HeaderName(name string) string {
	if _, known := headers[strings.ToLower(name)]; known || isName(name) {
		return name
	}
	return Name
}

// Header masks a header's value, unless the header is known and its value is of the
// form that it should have. It keeps the length, but for messages.
func Header(name string, value []byte) []byte {
	show := headers[strings.ToLower(name)]
	text := string(value)
	switch {
	case value == nil:
		return nil
	case show != nil && show(text):
		return value
	case name == deadletter.HeaderErrors:
		var failures []model.FieldError
		if json.Unmarshal(value, &failures) == nil {
			if masked, err := json.Marshal(Errors(failures)); err == nil {
				return masked
			}
		}
	case strings.HasSuffix(name, "exception.message"), strings.HasSuffix(name, "exception-message"):
		return []byte(Message(text))
	case strings.HasPrefix(name, "kafka_") || strings.HasPrefix(name, "__connect.errors."):
		if what := name[strings.LastIndexAny(name, ".-")+1:]; foreignNumbers[what] && isNumber(value) || foreignLabels[what] && label(text) {
			return value
		}
	}
	return All(value)
}

// What the headers of Spring Kafka and Kafka Connect end in that may be shown.
var (
	foreignNumbers = words(`partition offset timestamp id`)
	foreignLabels  = words(`topic fqcn name group stage`)
)

// isNumber is true of decimal digits and of Spring's binary numbers.
func isNumber(value []byte) bool {
	const ofInt, ofLong = 4, 8
	return decimal(string(value)) || (len(value) == ofInt || len(value) == ofLong) && value[0] == 0
}

// headers are those that may be shown where their content has the right form.
var headers = map[string]func(string) bool{
	deadletter.HeaderReason: label, deadletter.HeaderStage: label, deadletter.HeaderSourceTopic: label, deadletter.HeaderConsumerGroup: label,
	deadletter.HeaderSourcePartition: decimal, deadletter.HeaderSourceOffset: decimal, deadletter.HeaderRedriveCount: decimal,
	deadletter.HeaderSourceTimestamp: timestamp, deadletter.HeaderFailedAt: timestamp,
	deadletter.HeaderOriginPartition: decimal, deadletter.HeaderOriginOffset: decimal, deadletter.HeaderOriginTimestamp: timestamp,
	deadletter.HeaderOrigin: letterID, deadletter.HeaderEditedFrom: letterID,
	deadletter.HeaderRules:     matcher(`[A-Za-z0-9._+-]{1,64}`),
	deadletter.HeaderValue:     func(s string) bool { return s == "null" },
	deadletter.HeaderTruncated: matcher(`[{}":,a-z0-9_]+`),
	deadletter.HeaderEditedBy:  func(string) bool { return true }, // an operator, whom the audit log names too
	"content-type":             func(s string) bool { return mediaType(strings.ReplaceAll(s, " ", "")) },
	"traceparent":              traceID, "trace-id": traceID, "x-trace-id": traceID, "request-id": traceID, "x-request-id": traceID,
	"correlation-id": traceID, "x-correlation-id": traceID,
}

var (
	quoted      = regexp.MustCompile(`"[^"]*"?|'[^']*'?`)
	messageWord = regexp.MustCompile(`"\*\*\*"|[^\s:;,()\[\]{}=]+`)
)

// Message masks what another service says of a failure: it may quote the record. Known
// words in lower case, and names of Java classes, stay.
func Message(message string) string {
	return messageWord.ReplaceAllStringFunc(quoted.ReplaceAllString(message, Hidden), func(word string) string {
		bare := strings.TrimRight(word, ".!?")
		if word == Hidden || javaClass(bare) || bare == strings.ToLower(bare) && isName(bare) {
			return word
		}
		return string(All([]byte(word)))
	})
}

var javaClass = matcher(`(org|com|io|java)(\.[a-z0-9_]+)*\.[A-Za-z0-9_$]+(Exception|Error|Record|Converter|Deserializer)`)
