package mask

import (
	"encoding/json"
	"regexp"
	"strings"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/model"
)

var (
	letterID  = matcher(`[A-Za-z0-9._-]{1,249}/[0-9]{1,10}/[0-9]{1,19}(/[0-9a-f]{8})?|nats/[A-Za-z0-9_-]{1,249}/[0-9]{1,19}/[0-9a-f]{8}`)
	label     = matcher(`[A-Za-z_$][A-Za-z0-9_$.-]{0,248}`)
	decimal   = matcher(`[0-9]{1,19}`)
	timestamp = matcher(`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}(Z|[+-][0-9:]{5})`)
	// traceID needs a letter: a number may be a telephone number.
	traceID   = matcher(`[0-9a-f]*[a-f][0-9a-f]*(-[0-9a-f]+)*`)
	mediaType = has(words(`application/json application/xml application/avro application/octet-stream application/x-protobuf
		application/cloudevents+json text/plain text/plain;charset=utf-8 application/json;charset=utf-8`))
)

// ID masks what is not of the form of a letter's id: a letter that somebody else
// wrote may have any key.
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

// Key masks a record's key, and keeps its length. Nil stays nil.
func Key(key []byte) []byte { return All(key) }

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
