package mask

import (
	_ "embed"
	"encoding/json"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
)

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
