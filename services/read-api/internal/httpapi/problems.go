package httpapi

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/services/read-api/internal/access"
)

// The kinds of problems of the API. Each is explained at /problems/{name}.
var (
	orderNotFound = &problem.Kind{Name: "order-not-found", Code: errs.NotFound, Title: "No such order",
		Meaning: "No order with this order_uid is stored. It may not have arrived yet, may have been refused (then it is among the dead letters), or may have been deleted."}
	versionNotFound = &problem.Kind{Name: "version-not-found", Code: errs.NotFound, Title: "No such version",
		Meaning: "There is something about the order, but not what was asked for: versions are kept for a time, and only of changes by newer records."}
	versionsUnavailable = &problem.Kind{Name: "versions-unavailable", Code: errs.Unavailable, Title: "Versions are not kept yet",
		Meaning: "The database's schema is older than this service, and has no place for earlier versions of orders. Whoever runs the service should run orderctl migrate."}
	invalidUID = &problem.Kind{Name: "invalid-order-uid", Code: errs.Invalid, Title: "Not an order_uid",
		Meaning: "An order_uid is 1 to 64 characters of A-Z, a-z, 0-9, '-', '_' and '.', and not '.', '..' or 'stream'. No order can have the one in this address."}
	invalidParameter = &problem.Kind{Name: "invalid-parameter", Code: errs.Invalid, Title: "Invalid parameter",
		Meaning: "A parameter of the query is unknown, is given twice, or has a value that it cannot have. The detail names it."}
	invalidCursor = &problem.Kind{Name: "invalid-cursor", Code: errs.Invalid, Title: "Invalid cursor",
		Meaning: "A cursor is the next_cursor of an answer, unchanged, given with the filters of that answer. This one is not. Start again without a cursor."}
	unavailable = &problem.Kind{Name: "unavailable", Code: errs.Unavailable, Title: "Cannot be answered now",
		Meaning: "The database cannot be reached now, and the answer is not in memory; or it would take too long, which the detail says. This says nothing about whether the order exists. Try again after the time in Retry-After."}
	listUnavailable = &problem.Kind{Name: "list-unavailable", Code: errs.Unavailable, Title: "Lists cannot be read from the database",
		Meaning: "Memory cannot answer now, or was not to be asked (Cache-Control: no-cache), and the database has no index for the list, count or suggestion, which would have to read all orders. Try again after the time in Retry-After, without no-cache. If it stays so, memory does not hold all orders: whoever runs the service should run orderctl migrate --list-indexes."}
	tooManyStreams = &problem.Kind{Name: "too-many-streams", Code: errs.Unavailable, Title: "Too many streams",
		Meaning: "This replica has as many open streams as it allows. Try again after the time in Retry-After, or at another replica."}
)

var kinds = append([]*problem.Kind{orderNotFound, versionNotFound, versionsUnavailable, invalidUID, invalidParameter, invalidCursor, problem.NoSuchAddress, problem.WrongMethod, problem.LongHeader,
	unavailable, listUnavailable, tooManyStreams, problem.Defect, access.NotAudited}, auth.Kinds()...)

// problem answers a request with an error, and ends its handling.
func (a *api) problem(c *gin.Context, p *problem.Error) {
	c.Writer.Header().Del("Age")
	a.Access.Problem(c, p)
}

// problemPage explains a kind of problem.
func (a *api) problemPage(c *gin.Context) {
	for _, k := range kinds {
		if k.Name == c.Param("name") {
			a.send(c, "text/plain; charset=utf-8", []byte(k.Title+" ("+http.StatusText(k.Code.HTTPStatus())+")\n\n"+k.Meaning+"\n"))
			return
		}
	}
	a.problem(c, problem.NoSuchAddress.New("There is no problem of this name."))
}
