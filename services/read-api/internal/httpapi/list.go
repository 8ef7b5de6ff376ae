package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

const defaultLimit = 20

// list answers GET and HEAD of the orders, newest first.
func (a *api) list(c *gin.Context) {
	after, limit, refusal := parseList(c.Request.URL.RawQuery)
	if refusal != nil {
		a.problem(c, refusal.kind, refusal.detail)
		return
	}
	page, err := a.Orders.List(c.Request.Context(), after, limit)
	if err != nil {
		a.unavailable(c, err)
		return
	}
	body := appendPage(nil, page)
	h := c.Writer.Header()
	h["Cache-Control"] = revalidate
	h["X-Content-Type-Options"] = nosniff
	c.Data(http.StatusOK, jsonType[0], body)
}

// appendPage writes {"orders":[…],"next_cursor":"…"}; at the end of the list
// there is no next_cursor.
func appendPage(dst []byte, page orders.Page) []byte {
	dst = append(dst, `{"orders":[`...)
	for i, body := range page.Orders {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, body...)
	}
	dst = append(dst, ']')
	if page.Next != nil {
		dst = append(dst, `,"next_cursor":"`...)
		dst = append(dst, encodeCursor(*page.Next)...)
		dst = append(dst, '"')
	}
	return append(dst, '}')
}

// refusal is what is wrong with a request.
type refusal struct {
	kind   kind
	detail string
}

func parseList(rawQuery string) (after *orders.Key, limit int, _ *refusal) {
	limit = defaultLimit
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, 0, &refusal{problemParameter, "The query can't be read: " + strconv.Quote(err.Error()) + "."}
	}
	for name, values := range query {
		if len(values) > 1 {
			return nil, 0, &refusal{problemParameter, fmt.Sprintf("The parameter %q is given more than once.", cut(name))}
		}
		switch name {
		case "limit":
			limit, err = strconv.Atoi(values[0])
			if err != nil || limit < 1 || limit > orders.MaxLimit {
				return nil, 0, &refusal{problemParameter, fmt.Sprintf("limit: %q is no whole number from 1 to %d.", cut(values[0]), orders.MaxLimit)}
			}
		case "cursor":
			key, err := decodeCursor(values[0])
			if err != nil {
				return nil, 0, &refusal{problemCursor, "cursor: " + err.Error() + "."}
			}
			after = &key
		default:
			return nil, 0, &refusal{problemParameter, fmt.Sprintf("The parameter %q is unknown; there are limit and cursor.", cut(name))}
		}
	}
	return after, limit, nil
}

// cut keeps what a client sent from filling an answer.
func cut(text string) string {
	const most = 80
	if len(text) > most {
		return text[:most] + "…"
	}
	return text
}

// A cursor is base64url of: version, microseconds since 1970, order_uid, and a
// check over these, so that what a client made up is told from what it was given.
const (
	cursorVersion  = 1
	cursorHead     = 1 + 8
	cursorCheckLen = 6
)

var errCursor = errors.New("it is not the next_cursor of an answer")

func encodeCursor(key orders.Key) string {
	token := append(make([]byte, 0, cursorHead+len(key.UID)+cursorCheckLen), cursorVersion)
	token = binary.BigEndian.AppendUint64(token, uint64(key.Created.UnixMicro()))
	token = append(token, key.UID...)
	check := cursorCheck(token)
	return base64.RawURLEncoding.EncodeToString(append(token, check[:]...))
}

func decodeCursor(text string) (orders.Key, error) {
	token, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(token) < cursorHead+cursorCheckLen || token[0] != cursorVersion {
		return orders.Key{}, errCursor
	}
	token, check := token[:len(token)-cursorCheckLen], token[len(token)-cursorCheckLen:]
	if cursorCheck(token) != [cursorCheckLen]byte(check) {
		return orders.Key{}, errCursor
	}
	micros := int64(binary.BigEndian.Uint64(token[1:]))
	return orders.Key{Created: time.UnixMicro(micros).UTC(), UID: string(token[cursorHead:])}, nil
}

// cursorCheck is no signature: a cursor opens nothing that its holder could not ask for.
func cursorCheck(token []byte) [cursorCheckLen]byte {
	sum := sha256.Sum256(append([]byte("orderhub cursor\x00"), token...))
	return [cursorCheckLen]byte(sum[:])
}
