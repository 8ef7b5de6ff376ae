// Package problem writes errors as problem+json (RFC 9457). A problem is an error of
// package errs that belongs to a kind: the type that the body names, and that the
// program explains at the type's address.
//
// The package knows no web framework.
package problem

import (
	"encoding/json"
	"errors"

	"github.com/orderhub/orderhub/libs/platform/errs"
)

// Kind is a type of problem. Programs declare theirs as package variables.
type Kind struct {
	Name    string // the last part of the type's URI, such as "order-not-found"
	Code    errs.Code
	Title   string // a few words, the same for all problems of the kind
	Meaning string // for people: what it means and what to do
}

// Kinds that every web program has.
var (
	NoSuchAddress = &Kind{"no-such-address", errs.NotFound, "Nothing at this address",
		"The service has no resource at this address."}
	WrongMethod = &Kind{"method-not-allowed", errs.NotAllowed, "Method not allowed",
		"The resource exists but does not have this method. The Allow header lists the methods that it has."}
	LongHeader = &Kind{"long-header", errs.LongHeader, "Request header too long",
		"The request's line and header are longer than 64 KiB. In a browser, cookies are the usual reason: other programs at the same host name, whatever their port, have set too many. Delete the cookies of this site."}
	Defect = &Kind{"internal", errs.Internal, "Internal error",
		"The service has a defect. Trying again may or may not help; the service's log says more."}
)

// New returns an error of the kind. detail is a sentence for whoever asked: it must
// not contain anything that they may not see.
func (k *Kind) New(detail string) *Error { return k.Wrap(nil, detail) }

// Wrap is New with a cause, which is for the log only.
func (k *Kind) Wrap(cause error, detail string) *Error {
	return &Error{Kind: k, coded: &errs.Error{Code: k.Code, Message: detail, Err: cause}}
}

// Error is a problem. [errs.CodeOf] and [errs.Message] know it.
type Error struct {
	Kind  *Kind
	coded *errs.Error
}

func (e *Error) Error() string { return e.coded.Error() }

func (e *Error) Unwrap() error { return e.coded }

// Status is the HTTP status.
func (e *Error) Status() int { return e.Kind.Code.HTTPStatus() }

// Detail is the sentence for whoever asked.
func (e *Error) Detail() string { return e.coded.Message }

// Of returns the problem in an error's chain. An error without one is a defect,
// about which the answer says nothing.
func Of(err error) *Error {
	if p, ok := errors.AsType[*Error](err); ok {
		return p
	}
	return Defect.Wrap(err, "The service failed to answer this request. Its log says why.")
}

const (
	// ContentType is the media type of JSON.
	ContentType = "application/problem+json"
	// Path is where web programs explain their kinds: Path + Kind.Name is the URI of
	// a problem's type.
	Path = "/problems/"
)

// Body is a problem as RFC 9457 writes it.
type Body struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// RequestID names the request in the log.
	RequestID string `json:"request_id,omitempty"`
}

// JSON is the problem's body. prefix is the path before the program's own addresses, ""
// for none; requestID, too.
func (e *Error) JSON(prefix, requestID string) []byte {
	body, err := json.Marshal(Body{Type: prefix + Path + e.Kind.Name, Title: e.Kind.Title, Status: e.Status(), Detail: e.Detail(), RequestID: requestID})
	if err != nil {
		panic(err) // strings and a number always have a JSON form
	}
	return body
}
