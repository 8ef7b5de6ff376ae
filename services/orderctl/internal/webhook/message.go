package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The headers are those of Standard Webhooks (standardwebhooks.com), for whose signature
// there are libraries.
const (
	headerID        = "Webhook-Id"
	headerTimestamp = "Webhook-Timestamp" // seconds since 1970
	headerSignature = "Webhook-Signature" // v1,<base64 of the HMAC-SHA256>
)

// message is the body of a request. Text is for Slack and the like.
type message struct {
	Text    string  `json:"text"`
	Version int     `json:"version"`
	Topic   string  `json:"topic"`
	Events  []Event `json:"events"`
}

const messageVersion = 1

// newMessage gives a message's id and body. The id is the same where the events are told
// again.
func newMessage(topic, console string, events []Event) (id string, body []byte, err error) {
	text := strings.Builder{}
	text.WriteString("Orderhub: dead letters in " + topic)
	ids := sha256.New()
	for _, e := range events {
		ids.Write([]byte(e.ID + "\n"))
		fmt.Fprintf(&text, "\n• %s: %s", e.Event, e.Reason)
		for _, part := range [][2]string{{", rule ", e.Rule}, {" at ", e.Path}} {
			if part[1] != "" {
				text.WriteString(part[0] + part[1])
			}
		}
		fmt.Fprintf(&text, ", %d open, first seen %s", e.Open, e.FirstSeen.UTC().Format(time.RFC3339))
	}
	shown := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text.String()) // Slack's markup
	if console != "" {
		shown += "\n" + console
	}
	body, err = json.Marshal(message{Text: shown, Version: messageVersion, Topic: topic, Events: events})
	return "orderhub-" + hex.EncodeToString(ids.Sum(nil)[:12]), body, err
}

func sign(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
