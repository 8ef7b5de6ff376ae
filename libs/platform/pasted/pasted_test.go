package pasted

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func isUID(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

func TestWhatPeoplePasteIsTheUID(t *testing.T) {
	const uid = "b563feb7b2b84b6test"
	for _, text := range []string{
		uid, " " + uid + "\t", uid + "\r\n", "\u00a0" + uid + "\u00a0", "\u2003" + uid + "\u3000", "\u2028" + uid, uid + "\u2800",
		uid + "\u200b", "\ufeff" + uid, "\u2060" + uid, "\u200e" + uid + "\u200f", "\u202a" + uid + "\u202c", "\u2066" + uid + "\u2069", "b563feb7\u200bb2b84b6test", "b563feb7\u00adb2b84b6test",
		uid + "\ufe0f", uid + "\u3164", "\x00" + uid, "b563feb7b2b84b6\u001btest",
		`"` + uid + `"`, "'" + uid + "'", "`" + uid + "`", "“" + uid + "”", "„" + uid + "“", "«" + uid + "»", "« " + uid + " »", "‘" + uid + "’", "「" + uid + "」", "<" + uid + ">", "(" + uid + ")",
		uid + ",", `"` + uid + `",`, "\u200e“" + uid + "\u200b”.",
		`"order_uid": "` + uid + `",`, `{"order_uid":"` + uid + `","track_number":"X"}`, "order_uid=" + uid,
		"http://localhost:8081/?uid=" + uid, "http://localhost:8081/?uid=" + uid + "&view=json", "https://shop.example/orders/?uid=" + uid + "#json", "http://localhost:8081/?q=" + uid,
		"http://localhost:8081/order/" + uid, "https://shop.example/orders/order/" + uid, "https://shop.example/a/api/v1/orders/" + uid + "?x=1", "/order/" + uid, "localhost:8081/order/" + uid,
		"<http://localhost:8081/order/" + uid + ">", "http://localhost:8081/order/" + uid + "\u200b", "http://localhost:8081/order/" + uid + "%E2%80%8B", "http://localhost:8082/letters?q=" + uid + "&status=open",
		"curl -s 'http://localhost:8081/order/" + uid + "'", "[the order](http://localhost:8081/order/" + uid + ")",
	} {
		require.Equal(t, uid, Choose(text, isUID), "%q", text)
	}
	require.Equal(t, "a-b-c", Choose("a‑b–c", isUID), "dashes")
	require.Equal(t, "a.", Choose("a.", isUID), "what it is as it stands goes first")
	require.Equal(t, "заказ 1", Choose("\u200eзаказ\u00a01 ", isUID), "what is no uid is only cleaned")
}

func TestWhatPeoplePasteIsALettersID(t *testing.T) {
	const id = "orders/0/17/9f3a1c2e"
	for _, text := range []string{id, id + "\u200b", `"` + id + `"`, "http://localhost:8082/letter?id=orders%2F0%2F17%2F9f3a1c2e", "https://ops.example/dlq/letter?id=orders/0/17/9f3a1c2e&job=1"} {
		require.Equal(t, id, Choose(text, func(s string) bool { return s == id }), text)
	}
}

func FuzzReadings(f *testing.F) {
	f.Add("\u200e“http://x/?uid=%E2%80%8B”")
	f.Fuzz(func(t *testing.T, text string) {
		all := Readings(text)
		require.Equal(t, strings.TrimSpace(text), all[0])
		for _, reading := range all[1:] {
			require.True(t, utf8.ValidString(reading))
			require.NotEmpty(t, reading)
		}
		require.Equal(t, Clean(text), Clean(Clean(text)))
	})
}
