package httpapi

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
)

// kind is a type of problem, named by the last part of its type URI.
type kind struct {
	name    string
	status  int
	title   string
	meaning string // for people, at the type's address
}

var (
	problemNotFound = kind{"order-not-found", http.StatusNotFound, "No such order",
		"No order with this order_uid is stored. It may not have arrived yet, may have been refused (then it is among the dead letters), or may have been deleted."}
	problemUID = kind{"invalid-order-uid", http.StatusBadRequest, "Not an order_uid",
		"An order_uid is 1 to 64 characters of A-Z, a-z, 0-9, '-', '_' and '.'. No order can have the one in this address."}
	problemParameter = kind{"invalid-parameter", http.StatusBadRequest, "Invalid parameter",
		"A parameter of the query is unknown, is given twice, or has a value that it can't have. The detail names it."}
	problemCursor = kind{"invalid-cursor", http.StatusBadRequest, "Invalid cursor",
		"A cursor is the next_cursor of an answer, unchanged, given with the filters of that answer. This one is not. Start again without a cursor."}
	problemNoRoute = kind{"no-such-address", http.StatusNotFound, "Nothing at this address",
		"The service has no resource at this address."}
	problemMethod = kind{"method-not-allowed", http.StatusMethodNotAllowed, "Method not allowed",
		"The resource exists but doesn't have this method. The Allow header lists those that it has."}
	problemMalformed = kind{"malformed-request", http.StatusBadRequest, "Not a request",
		"What was sent is no HTTP/1.1 request that the service understands: a line, a header or its version is wrong. The connection is closed."}
	problemHeaders = kind{"headers-too-large", http.StatusRequestHeaderFieldsTooLarge, "Header too large",
		"The request's line and header together are longer than 16 KiB, which no request to this service needs. The connection is closed."}
	problemUnavailable = kind{"unavailable", http.StatusServiceUnavailable, "Can't be known now",
		"The database can't be asked now, and the answer is not in memory. Nothing is said about whether the order exists. Try again after the time in Retry-After."}
	problemStreamsFull = kind{"too-many-streams", http.StatusServiceUnavailable, "Too many streams",
		"This replica has as many streams open as it is allowed to. Try again after the time in Retry-After, or at another replica."}
	problemInternal = kind{"internal", http.StatusInternalServerError, "Internal error",
		"The service has a fault. Trying again may or may not help; the service's log says more."}
)

var kinds = []kind{problemNotFound, problemUID, problemParameter, problemCursor, problemNoRoute, problemMethod, problemMalformed, problemHeaders,
	problemUnavailable, problemStreamsFull, problemInternal}

// retryAfter is in seconds: the database is tried again about that often.
const retryAfter = "1"

const (
	problemsPath = "/problems/"
	problemType  = "application/problem+json"
)

var problemTypes = []string{problemType}

// Problem is the body of an error (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// problem answers a request with an error, and ends its handling.
func (a *api) problem(c *gin.Context, k kind, detail string) {
	h := c.Writer.Header()
	for _, name := range []string{"ETag", "Content-Length", "Content-Encoding", "Age", stalenessHeader} { // of an answer that was begun
		h.Del(name)
	}
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = nosniff
	if k.status == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfter)
	}
	c.Abort()
	c.Data(k.status, problemType, problemBody(k, detail))
}

func problemBody(k kind, detail string) []byte {
	body, err := json.Marshal(Problem{Type: problemsPath + k.name, Title: k.title, Status: k.status, Detail: detail})
	if err != nil {
		panic(err) // strings and a number
	}
	return body
}

// problemPage explains a type of problem.
func (a *api) problemPage(c *gin.Context) {
	for _, k := range kinds {
		if k.name == c.Param("name") {
			var text strings.Builder
			text.WriteString(k.title + " (" + http.StatusText(k.status) + ")\n\n" + k.meaning + "\n")
			secureDocument(c.Writer.Header(), "")
			send(c, textType, []byte(text.String()))
			return
		}
	}
	a.noRoute(c)
}
