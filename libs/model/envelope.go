package model

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// Envelope is what records hold orders in.
type Envelope string

// The envelopes. EnvelopeNone is that records are orders.
const (
	EnvelopeNone        Envelope = ""
	EnvelopeCloudEvents Envelope = "cloudevents" // of CloudEvents 1.0, in structured or binary mode
	EnvelopeConnect     Envelope = "connect"     // the schema and payload of Kafka Connect's JsonConverter
	EnvelopeRegistry    Envelope = "registry"    // a schema registry's prefix, see RegistryPrefix
)

var envelopes = []Envelope{EnvelopeCloudEvents, EnvelopeConnect, EnvelopeRegistry}

// UnmarshalText implements encoding.TextUnmarshaler. EnvelopeNone is written as none.
func (e *Envelope) UnmarshalText(text []byte) error {
	*e = Envelope(strings.TrimPrefix(string(text), "none"))
	if *e != EnvelopeNone && !slices.Contains(envelopes, *e) {
		return fmt.Errorf("%q is none of none, cloudevents, connect and registry", text)
	}
	return nil
}

// open returns the order inside of a record's envelope. A record without that envelope is
// returned as it is: in CloudEvents' binary mode it is the order.
func (e Envelope) open(record []byte) []byte {
	switch e {
	case EnvelopeNone:
	case EnvelopeRegistry:
		return record[RegistryPrefix(record):]
	case EnvelopeConnect:
		if v, ok := readWrapper(record); ok && v.has("schema") && v.member("payload") != nil {
			return v.member("payload")
		}
	case EnvelopeCloudEvents:
		v, ok := readWrapper(record)
		if !ok || !v.has("specversion", "type") {
			return record
		}
		if data := v.member("data"); data != nil {
			return textOr(data)
		}
		if data, err := base64.StdEncoding.DecodeString(string(textOr(v.member("data_base64")))); err == nil && len(data) > 0 {
			return data
		}
	}
	return record
}

// textOr is the text of a JSON string, such as JSON that an event has as text, and any
// other value as it is.
func textOr(value []byte) []byte {
	if v, ok := readWrapper(value); ok && v.kind == '"' {
		return v.text
	}
	return value
}

// hint tells how the worker takes records with such an envelope.
func (e Envelope) hint() string {
	return "; send the order itself, or set INGEST_ENVELOPE=" + string(e)
}
