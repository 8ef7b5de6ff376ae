package web

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/gin-gonic/gin"
)

// minEncoded is the size in bytes from which bodies are encoded: what fits into one
// packet arrives no sooner for being smaller.
const minEncoded = 1400

// Send answers with a whole body: encoded where that makes it smaller and the client
// takes it, or with 304 where the client has it already. tag is the strong entity tag
// of the plain body, or a weak one, or "" for none. The caller sets Cache-Control.
func Send(c *gin.Context, status int, contentType, tag string, body []byte) {
	h := c.Writer.Header()
	h.Add("Vary", "Accept-Encoding")
	coding := Accepted(c.Request.Header)
	if len(body) < minEncoded {
		coding = nil
	}
	if tag != "" && status == http.StatusOK && notModified(c, tag, coding) {
		return
	}
	if coding != nil {
		if smaller := coding.Encode(body); len(smaller) < len(body) {
			body = smaller
			h.Set("Content-Encoding", coding.Name)
		} else {
			coding = nil
		}
	}
	if tag != "" {
		h.Set("ETag", coding.Tag(tag))
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	c.Data(status, contentType, body)
}

// notModified answers 304, with the tag that the client has, if it has one of the
// two that the answer could have.
func notModified(c *gin.Context, tag string, coding *Coding) bool {
	held := c.Request.Header["If-None-Match"]
	if encoded := coding.Tag(tag); Matches(held, encoded) {
		tag = encoded
	} else if !Matches(held, tag) {
		return false
	}
	c.Header("ETag", tag)
	c.Status(http.StatusNotModified)
	return true
}

// Matches tells whether the lines of If-None-Match name a tag. The comparison is the
// weak one (RFC 9110, 13.1.2): a W/ prefix does not matter.
func Matches(lines []string, tag string) bool {
	tag = strings.TrimPrefix(tag, "W/")
	for _, line := range lines {
		if line == tag { // nearly always
			return true
		}
		for line != "" {
			line = strings.TrimLeft(line, " \t,")
			if strings.HasPrefix(line, "*") {
				return true
			}
			line = strings.TrimPrefix(line, "W/")
			if strings.HasPrefix(line, tag) {
				return true
			}
			// On to the next tag, past the quotes of this one: commas may be in it.
			if !strings.HasPrefix(line, `"`) {
				_, line, _ = strings.Cut(line, ",")
				continue
			}
			_, rest, closed := strings.Cut(line[1:], `"`)
			if !closed {
				break
			}
			line = rest
		}
	}
	return false
}
