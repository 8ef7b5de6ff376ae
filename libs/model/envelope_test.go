package model

import (
	"encoding/base64"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// An order in an envelope is the same order, with the same hash, as the order alone, so that
// a topic may change from one to the other.
func TestOrdersInEnvelopes(t *testing.T) {
	order := sampleRecord()
	plain, err := New(Options{}).Decode([]byte(order))
	require.NoError(t, err)
	event := func(data string) string {
		return `{"specversion":"1.0","type":"order.created","source":"/shop","id":"1",` + data + `}`
	}
	for envelope, records := range map[Envelope][]string{
		EnvelopeNone: {order},
		EnvelopeCloudEvents: {
			order, event(`"data":` + order), event(`"data":` + strconv.Quote(order)),
			event(`"data_base64":"` + base64.StdEncoding.EncodeToString([]byte(order)) + `"`),
		},
		EnvelopeConnect: {
			order, `{"schema":null,"payload":` + order + `}`, ` {"payload": ` + order + ` , "schema":{"type":"struct","fields":[]}}`,
		},
		EnvelopeRegistry: {order, "\x00\x00\x00\x00\x07" + order, "\x00\x00\x00\x00\x00\x00\x00\x00\x07" + order, "\x03\x000123456789abcdef" + order},
	} {
		codec := New(Options{Envelope: envelope})
		for _, record := range records {
			decoded, err := codec.Decode([]byte(record))
			require.NoError(t, err, "%s: %.60q", envelope, record)
			require.Equal(t, plain, decoded, "%s: %.60q", envelope, record)
		}
	}
}

// What is no order inside of the envelope is refused for what it is.
func TestEnvelopesWithoutOrders(t *testing.T) {
	for _, one := range []struct {
		envelope Envelope
		record   string
		reason   Reason
		message  string
	}{
		{EnvelopeConnect, `{"schema":null,"payload":null}`, ReasonWrongType, ""},
		{EnvelopeConnect, `{"schema":null,"payload":{"order_uid":7}}`, ReasonWrongType, ""},
		{EnvelopeConnect, `{"schema":null,"payload":{},"payload":{}}`, ReasonDuplicateName, ""},
		{EnvelopeConnect, `{"schema":null,"payload":{`, ReasonNotJSON, ""},
		{EnvelopeCloudEvents, `{"specversion":"1.0","type":"t","data":"no JSON"}`, ReasonNotJSON, ""},
		{EnvelopeCloudEvents, `{"specversion":"1.0","type":"t","data_base64":"***"}`, ReasonWrapped, "there is no order in it"},
		{EnvelopeRegistry, "\x00\x00\x00\x00\x07\x02binary", ReasonNotJSON, "no JSON follows"},
		{EnvelopeConnect, "\x00\x00\x00\x00\x07" + sampleRecord(), ReasonNotJSON, "INGEST_ENVELOPE=registry"},
		{EnvelopeNone, `{"schema":null,"payload":` + sampleRecord() + `}`, ReasonWrapped, "INGEST_ENVELOPE=connect"},
		{EnvelopeNone, `{"specversion":"1.0","type":"t","data":` + sampleRecord() + `}`, ReasonWrapped, "INGEST_ENVELOPE=cloudevents"},
	} {
		_, err := New(Options{Envelope: one.envelope}).Decode([]byte(one.record))
		var refused *RecordError
		require.ErrorAs(t, err, &refused, one.record)
		require.Equal(t, one.reason, refused.Reason, "%s: %.60q: %v", one.envelope, one.record, err)
		require.ErrorContains(t, err, one.message, one.record)
	}
}

func TestNamesOfEnvelopes(t *testing.T) {
	for text, envelope := range map[string]Envelope{"none": EnvelopeNone, "connect": EnvelopeConnect, "cloudevents": EnvelopeCloudEvents, "registry": EnvelopeRegistry} {
		var e Envelope
		require.NoError(t, e.UnmarshalText([]byte(text)))
		require.Equal(t, envelope, e)
	}
	require.ErrorContains(t, new(Envelope).UnmarshalText([]byte("avro")), "none of none, cloudevents, connect and registry")
}
