// Package errs is the error type that Orderhub's programs share: a code that
// programs act on, a message for the person who asked, and the cause for the log.
// A code has its HTTP status and its exit code.
package errs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// The exit codes that scripts rely on.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitNothing     = 3
	ExitInterrupted = 130 // Ctrl-C or SIGTERM, as a shell has it
)

// Code says what kind of failure an error is. The zero value is that of no error.
type Code struct {
	name                 string
	httpStatus, exitCode int
}

// The codes. An error without a code is Internal.
var (
	Invalid      = Code{"invalid", http.StatusBadRequest, ExitUsage}                       // the argument, setting or request cannot be used
	Unauthorized = Code{"unauthorized", http.StatusUnauthorized, ExitFailed}               // nobody is signed in
	Forbidden    = Code{"forbidden", http.StatusForbidden, ExitFailed}                     // the user lacks the right
	NotFound     = Code{"not_found", http.StatusNotFound, ExitNothing}                     // nothing matched
	NotAllowed   = Code{"not_allowed", http.StatusMethodNotAllowed, ExitUsage}             // the thing exists, but does not support this operation
	Conflict     = Code{"conflict", http.StatusConflict, ExitFailed}                       // the state differs from what the caller expected
	TooLarge     = Code{"too_large", http.StatusRequestEntityTooLarge, ExitFailed}         // the input is over a limit
	LongHeader   = Code{"long_header", http.StatusRequestHeaderFieldsTooLarge, ExitFailed} // the request's header is over a limit
	TooMany      = Code{"too_many", http.StatusTooManyRequests, ExitFailed}                // the caller asks too often
	WrongHost    = Code{"wrong_host", http.StatusMisdirectedRequest, ExitFailed}           // the request is for another host
	Unavailable  = Code{"unavailable", http.StatusServiceUnavailable, ExitFailed}          // a dependency is away or busy: waiting may help
	Interrupted  = Code{"interrupted", 499, ExitInterrupted}                               // the caller gave up; nginx's status for a client that closed the request
	Internal     = Code{"internal", http.StatusInternalServerError, ExitFailed}            // a defect, or a failure that has no other code
)

// HTTPStatus is the status of an answer to a request that failed with this code.
func (c Code) HTTPStatus() int { return c.httpStatus }

// ExitCode is the exit code of a program that failed with this code.
func (c Code) ExitCode() int { return c.exitCode }

// Error is a failure with a code. Message is for the person who asked and must not
// contain secrets or internals. Err is the cause, for the log and for errors.Is and
// errors.As. Either may be empty.
type Error struct {
	Code    Code
	Message string
	Err     error
}

// New returns an error with a message and no cause.
func New(code Code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns err with a code and a message, or nil where err is nil. The message
// should say what Message alone has to tell; the cause follows it in Error.
func Wrap(code Code, err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Err: err}
}

// Error is the message, followed by the cause.
func (e *Error) Error() string {
	switch {
	case e.Err == nil && e.Message == "":
		return e.Code.name
	case e.Err == nil:
		return e.Message
	case e.Message == "":
		return e.Err.Error()
	default:
		return e.Message + ": " + e.Err.Error()
	}
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the outermost Error in err's chain. Without one, a
// cancelled context is Interrupted, an exceeded deadline Unavailable, and anything
// else Internal. The code of nil is the zero value.
func CodeOf(err error) Code {
	var coded *Error
	switch {
	case err == nil:
		return Code{}
	case errors.As(err, &coded):
		return coded.Code
	case errors.Is(err, context.Canceled):
		return Interrupted
	case errors.Is(err, context.DeadlineExceeded):
		return Unavailable
	default:
		return Internal
	}
}

// Message returns what the person who asked may be told: the message of the
// outermost Error in err's chain, or an empty text where there is none.
func Message(err error) string {
	var coded *Error
	if errors.As(err, &coded) {
		return coded.Message
	}
	return ""
}
