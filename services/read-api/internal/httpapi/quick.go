package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/model"
)

// quickRequest is one that the front answers.
type quickRequest struct {
	uid  string
	held string // If-None-Match
}

// harmless are headers that change no answer. What changes one, or what follows
// on the connection, is left to net/http, and so is what isn't known. (Orders so
// large that Accept-Encoding matters are, too.)
var harmless = []string{
	"User-Agent", "Accept", "Accept-Encoding", "Accept-Language", "Referer",
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip", "X-Request-Id", "Traceparent", "Tracestate",
}

// parseQuick reads a request that is whole, alone, of the simplest form, and
// certain to be answered in the usual way.
func parseQuick(text string) (q quickRequest, ok bool) {
	text, ok = strings.CutPrefix(text, "GET ")
	if !ok {
		return q, false
	}
	rest, ok := strings.CutPrefix(text, "/order/")
	if !ok {
		if rest, ok = strings.CutPrefix(text, "/api/v1/orders/"); !ok {
			return q, false
		}
	}
	q.uid, rest, ok = strings.Cut(rest, " HTTP/1.1\r\n")
	if !ok || !model.IsOrderUID(q.uid) || q.uid == "stream" { // which is another route's
		return q, false
	}
	hosts, tags := 0, 0
	for {
		var line string
		if line, rest, ok = strings.Cut(rest, "\r\n"); !ok {
			return q, false
		}
		if line == "" {
			return q, rest == "" && hosts == 1 && tags <= 1
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " ")
		if !ok || !isVisible(value) {
			return q, false
		}
		switch {
		case strings.EqualFold(name, "Host"):
			if hosts++; !isPlainHost(value) {
				return q, false
			}
		case strings.EqualFold(name, "If-None-Match"):
			tags++
			q.held = value
		case strings.EqualFold(name, "Connection"):
			if !strings.EqualFold(value, "keep-alive") {
				return q, false
			}
		case !slices.ContainsFunc(harmless, func(known string) bool { return strings.EqualFold(name, known) }):
			return q, false
		}
	}
}

func isVisible(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}

// isPlainHost is true of names, IPv4 and IPv6 addresses, with a port or not.
func isPlainHost(text string) bool {
	for i := range len(text) {
		c := text[i] | 0x20
		if (c < 'a' || c > 'z') && (text[i] < '0' || text[i] > ':') && strings.IndexByte("-._[]", text[i]) < 0 {
			return false
		}
	}
	return text != ""
}

// quick answers what order would answer from memory, with the same header.
func (a *api) quick(dst []byte, request string, now time.Time) ([]byte, *measure) {
	q, ok := parseQuick(request)
	if !ok {
		return dst, nil
	}
	answer, ok := a.Orders.Known(q.uid, now)
	if !ok || answer.Staleness > 0 {
		return dst, nil
	}
	if !answer.Found {
		dst = a.appendHead(dst, quickNotFound, now)
		dst = appendLength(dst, len(notFoundHead)+len(q.uid)+len(notFoundTail))
		dst = append(append(append(dst, notFoundHead...), q.uid...), notFoundTail...)
		return dst, a.orderDurations.with(http.StatusNotFound)
	}
	if answer.Len() >= compressedOrder {
		return dst, nil
	}
	etag := answer.ETag()
	if q.held != "" && matches([]string{q.held}, etag) {
		dst = a.appendHead(dst, quickNotModified, now)
		dst = append(append(append(dst, "Etag: "...), etag...), "\r\n\r\n"...)
		return dst, a.orderDurations.with(http.StatusNotModified)
	}
	dst = a.appendHead(dst, quickFound, now)
	dst = append(append(append(dst, "Etag: "...), etag...), "\r\n"...)
	dst = appendLength(dst, answer.Len())
	return answer.AppendTo(dst), a.orderDurations.with(http.StatusOK)
}

// What is the same in all answers of a status.
const (
	quickFound       = "HTTP/1.1 200 OK\r\nCache-Control: no-cache\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n"
	quickNotModified = "HTTP/1.1 304 Not Modified\r\nCache-Control: no-cache\r\n"
	quickNotFound    = "HTTP/1.1 404 Not Found\r\nCache-Control: no-store\r\nContent-Type: " + problemType + "\r\nX-Content-Type-Options: nosniff\r\n"
)

func (a *api) appendHead(dst []byte, head string, now time.Time) []byte {
	dst = append(append(dst, head...), a.corsHead...)
	dst = append(dst, "Date: "...)
	return append(now.UTC().AppendFormat(dst, http.TimeFormat), "\r\n"...)
}

// appendLength ends a header.
func appendLength(dst []byte, n int) []byte {
	return append(strconv.AppendInt(append(dst, "Content-Length: "...), int64(n), 10), "\r\n\r\n"...)
}
