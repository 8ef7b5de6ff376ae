package auth

import (
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/problem"
)

// The kinds of refusals.
var (
	Unauthorized = &problem.Kind{Name: "unauthorized", Code: errs.Unauthorized, Title: "Credential needed",
		Meaning: "The request has no credential, or one that is not valid: it may be unknown, expired or revoked. Send a token or JWT as \"Authorization: Bearer …\", or sign in. The WWW-Authenticate header says what was wrong."}
	Forbidden = &problem.Kind{Name: "forbidden", Code: errs.Forbidden, Title: "Not allowed",
		Meaning: "The credential is valid, but lacks a scope that this needs. The detail names the scope; whoever issues the credentials can add it."}
	CrossSite = &problem.Kind{Name: "cross-site", Code: errs.Forbidden, Title: "That came from another site",
		Meaning: "A page of another site asked for a change, or the form was made before you signed in. Load the page again and repeat what you did."}
	TooMany = &problem.Kind{Name: "too-many-requests", Code: errs.TooMany, Title: "Too many requests",
		Meaning: "This caller asks more often, or has more streams open, than the program's limits allow. The Retry-After header says how many seconds to wait."}
	WrongHost = &problem.Kind{Name: "wrong-host", Code: errs.WrongHost, Title: "Unknown host name",
		Meaning: "The program does not answer to the host name in the request. Use its own address, or add the name to HTTP_HOSTS."}
	SignInFailed = &problem.Kind{Name: "sign-in-failed", Code: errs.Invalid, Title: "Sign-in failed",
		Meaning: "The sign-in was not completed: it took too long, was begun in another browser, or the identity provider refused it. Begin again."}
	IssuerAway = &problem.Kind{Name: "issuer-unavailable", Code: errs.Unavailable, Title: "Identity provider unavailable",
		Meaning: "The credential cannot be checked, since the identity provider does not answer. Try again in a moment."}
)

// Kinds are all kinds of refusals, for the pages that explain them.
func Kinds() []*problem.Kind {
	return []*problem.Kind{Unauthorized, Forbidden, CrossSite, TooMany, WrongHost, SignInFailed, IssuerAway}
}
