package httpapi

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// refusingConn is a connection on which all that is wrong with a request is
// answered with a problem: what net/http refuses by itself, before any handler sees
// it, it answers with text.
type refusingConn struct{ net.Conn }

// What net/http writes, in one piece, where it refuses. No body of ours has a
// line break of this kind, so none can look like it.
const (
	refusalStart  = "HTTP/1.1 "
	refusalMiddle = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"
	// Of an Expect header that means nothing.
	refusalExpect = "HTTP/1.1 417 "
)

func (c *refusingConn) Write(p []byte) (int, error) {
	// Nearly everything is told by one byte: the first digit of its status.
	if len(p) > len(refusalStart) && (p[len(refusalStart)] == '4' || p[len(refusalStart)] == '5') && bytes.HasPrefix(p, []byte(refusalStart)) {
		if answer := refusalAnswer(p); answer != nil {
			if _, err := c.Conn.Write(answer); err != nil {
				return 0, err
			}
			return len(p), nil
		}
	}
	return c.Conn.Write(p)
}

// CloseWrite lets net/http end a connection so that the client gets the refusal
// before it learns that it has been cut off.
func (c *refusingConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// refusalAnswer is a problem in the place of net/http's text; nil where p is
// none.
func refusalAnswer(p []byte) []byte {
	if !bytes.Contains(p, []byte(refusalMiddle)) && !bytes.HasPrefix(p, []byte(refusalExpect)) {
		return nil
	}
	head, text, _ := strings.Cut(string(p), refusalMiddle)
	k := problemMalformed
	detail := "This is no request that the service understands"
	switch _, reason, given := strings.Cut(text, ": "); {
	case strings.HasPrefix(text, "431 "):
		k = problemHeaders
		detail = fmt.Sprintf("The request's line and header are longer than %d KiB", maxHeaderBytes>>10)
	case strings.HasPrefix(head, refusalExpect):
		detail = "The header Expect may only be 100-continue"
	case given:
		detail += ": " + reason
	}
	body := problemBody(k, detail+".")
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nCache-Control: no-store\r\n"+
		"X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n%s",
		k.status, http.StatusText(k.status), problemType, len(body), body)
}
