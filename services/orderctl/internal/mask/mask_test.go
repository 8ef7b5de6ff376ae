package mask

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/model"
)

func TestJSON(t *testing.T) {
	for value, want := range map[string]string{
		`{"delivery": {"name" : "Ann", "PHONE":12, "zip":"1", "email":"", "address":null}}`: `{"delivery": {"name" : "***", "PHONE":"***", "zip":"***", "email":"", "address":null}}`,
		`{"items":[{"name":"Mascaras"}], "name":{"first":["Ann",1,true]}}`:                  `{"items":[{"name":"***"}], "name":{"first":["***","***",true]}}`,
		`[{"a":{"Email":"x@y"}}]`: `[{"a":{"Email":"***"}}]`,
		`7`:                       `"***"`,
		`"Ann"`:                   `"***"`,
		`["Ann", 4915112345678]`:  `["***", "***"]`,
		`{"fullName":"Ann","mobil":4915112345678}`:         `{"fullName":"***","***":"***"}`,
		`{"ann@example.org":{"Ann Other":1}}`:              `{"***":{"***":"***"}}`,
		`{"payload":"{\"order_uid\":\"b5\",\"x\":\"A\"}"}`: `{"payload":"{\"order_uid\":\"b5\",\"x\":\"***\"}"}`,
		`"{\"name\":\"Ann\"}"`:                             `"{\"name\":\"***\"}"`,
		`{"phone":{"amount":5551234}}`:                     `{"phone":{"amount":"***"}}`,
	} {
		require.Equal(t, want, string(Value([]byte(value))))
	}
}

// A known field is shown only if its content looks as it should.
func TestKnownFields(t *testing.T) {
	for _, shown := range []string{
		`{"order_uid":"b563feb7b2b84b6test","track_number":"WBILMTESTTRACK","entry":"WBIL","locale":"en","delivery_service":"meest"}`,
		`{"shardkey":"9","sm_id":99,"date_created":"2021-11-26T06:22:19Z","oof_shard":"1","internal_signature":""}`,
		`{"currency":"USD","provider":"wbpay","amount":-1,"payment_dt":1637907727,"bank":"alpha","goods_total":18.17}`,
		`[{"chrt_id":9934930,"price":453,"rid":"ab4219087a764ae0btest","sale":30,"size":"XL","nm_id":2389212,"status":202}]`,
		`{"order_uid":"uid-0-17","locale":"english","valid":true,"phone":null}`,
	} {
		require.Equal(t, shown, string(Value([]byte(shown))))
	}
	for _, masked := range []string{
		`{"order_uid":"ann@example.org"}`, `{"order_uid":"4915112345678"}`, `{"order_uid":"ann-other-1"}`, `{"order_uid":"Ann"}`,
		`{"track_number":"Ann Other"}`, `{"track_number":"4915112345678"}`, `{"locale":"Ann"}`, `{"currency":"ann"}`, `{"bank":"Ann"}`,
		`{"size":"Ann"}`, `{"amount":4915112345678}`, `{"payment_dt":2025550123}`, `{"date_created":"Ann"}`, `{"status":"Ann"}`,
		`{"order_uid":12345678}`, `{"transaction":"b563feb7b2b84b6test"}`, `{"customer_id":"b5"}`,
	} {
		require.Contains(t, string(Value([]byte(masked))), `:"***"}`, masked)
	}
}

// Text that is not JSON keeps its length, so that offsets into it stay right.
func TestText(t *testing.T) {
	for value, want := range map[string]string{
		`{"name": "An\"n`:                   `{"name": "***"*`,
		`{name: Ann, phone='+49 1'}`:        `{name: ***, phone='*** *'}`,
		`call +49 123 4567, a@b.de x`:       `**** *** *** ****, ****** *`,
		`nothing of a person: 1637907727`:   `******* ** * person: **********`,
		`<customer><name>Ann</name>`:        `<customer><name>***</name>`,
		`  "order_uid": "b563",`:            `  "order_uid": "b563",`,
		`{"amount": 18, "locale":"en", "st`: `{"amount": 18, "locale":"en", "**`,
	} {
		require.Equal(t, want, string(Value([]byte(value))))
		require.Len(t, want, len(value))
	}
	escaped := string(Value([]byte(`{\"email\":\"ann@x.y\"} {`)))
	require.NotContains(t, escaped, "ann")
	require.Len(t, escaped, 25)
	require.Equal(t, "\x00\x01*****\x00", string(Value([]byte("\x00\x01Ann\xd0\xaf\x00"))))
}

func TestHeadersAndMessages(t *testing.T) {
	for name, want := range map[string]string{"customer-name": "*****", "X-Email": "*****", "phone": "*****", "trace": "*****", "renamed": "*****"} {
		require.Equal(t, want, string(Header(name, []byte("abc d"))), name)
	}
	for name, value := range map[string]string{
		"content-type": "application/json", "trace-id": "4bf92f3577b34da6", "dlq-reason": "invalid", "dlq-source-offset": "17",
		"dlq-failed-at": "2026-03-01T10:00:00.5Z", "__connect.errors.topic": "orders", "kafka_dlt-exception-fqcn": "java.lang.Error",
		"kafka_dlt-original-partition": "\x00\x00\x00\x02",
	} {
		require.Equal(t, value, string(Header(name, []byte(value))), name)
		require.NotContains(t, string(Header(name, []byte("ann@example.org"))), "ann", name)
	}
	require.NotContains(t, string(Header("trace-id", []byte("4915112345678"))), "49")
	require.Equal(t, "***", HeaderName("ann@example.org"))
	require.Equal(t, "X-Customer-Name", HeaderName("X-Customer-Name"))
	require.Equal(t, `no number: "***" at "***"`, Message(`no number: "Ann Other" at 'delivery.name'`))
	require.Equal(t, `org.apache.kafka.connect.errors.DataException: invalid value *** *****`, Message(`org.apache.kafka.connect.errors.DataException: invalid value Ann Other`))
}

func TestPathsAndScalars(t *testing.T) {
	require.Equal(t, "items[2].price", Path("items[2].price"))
	require.Equal(t, "data_base64", Path("data_base64"), "of a CloudEvents event")
	require.Equal(t, "delivery.***[1].name", Path("delivery.ann[1].name"))
	require.Equal(t, Hidden, Scalar([]string{"delivery", "Name", "first"}, `"x"`))
	require.Equal(t, Hidden, Scalar([]string{"items", "0", "name"}, `"x"`))
	require.Equal(t, `1817`, Scalar([]string{"payment", "amount"}, `1817`))
	require.Equal(t, `{"price":1,"name":"***"}`, Scalar([]string{"items[0]"}, `{"price":1,"name":"Ann"}`))
	require.Empty(t, Scalar([]string{"x"}, ""))
	require.Equal(t, []model.FieldError{{Path: "***", Rule: "unknown_field", Message: "is not a field of an order"}},
		Errors([]model.FieldError{{Path: "Ann", Rule: "unknown_field", Message: "is not a field of an order"}}))
	require.Equal(t, "orders/0/17/9f3a1c2e", ID("orders/0/17/9f3a1c2e"))
	require.Equal(t, "***", ID("ann@example.org"))
}
