package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/problem"
	"github.com/orderhub/orderhub/services/read-api/internal/access"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// Versions are read from the database, with the rules for who may see what of the order
// itself. What is compared and what has a hash is what the caller may see, so neither tells
// anything of masked values.

// versionList is what is known of an order's past.
type versionList struct {
	OrderUID   string        `json:"order_uid"`
	StoredAt   *time.Time    `json:"stored_at,omitempty"`
	UpdatedAt  *time.Time    `json:"updated_at,omitempty"`
	DeletedAt  *time.Time    `json:"deleted_at,omitempty"`
	Versions   []versionLine `json:"versions"`
	NextBefore int64         `json:"next_before,omitempty"`
}

type versionLine struct {
	Version    int64        `json:"version"`
	Since      *time.Time   `json:"since,omitempty"`
	ReplacedAt *time.Time   `json:"replaced_at,omitempty"`
	Record     *model.Stamp `json:"record,omitempty"`
	Hash       string       `json:"hash"`
}

type versionDiff struct {
	OrderUID    string              `json:"order_uid"`
	Version     int64               `json:"version"`
	Against     int64               `json:"against"`
	Differences []versionDifference `json:"differences"`
}

type versionDifference struct {
	Path   string          `json:"path"`
	Before json.RawMessage `json:"before"`
	After  json.RawMessage `json:"after"`
}

// versions answers GET and HEAD of the list of an order's versions.
func (a *api) versions(c *gin.Context) {
	q := readQuery(c.Request.URL.RawQuery, "limit", "before")
	which := orders.Which{Limit: defaultLimit}
	read(q, "limit", &which.Limit, limitOf)
	read(q, "before", &which.Before, wholeFrom(1))
	past, ok := a.past(c, q, which)
	if !ok {
		return
	}
	list := versionList{OrderUID: c.Param("order_uid"), StoredAt: past.StoredAt, UpdatedAt: past.UpdatedAt, DeletedAt: past.DeletedAt, Versions: []versionLine{}}
	for _, v := range past.Selected {
		tag := cache.ETag(v.Canonical)
		list.Versions = append(list.Versions, versionLine{v.Number, v.Since, v.ReplacedAt, v.Stamp, tag[1 : len(tag)-1]})
		if past.More {
			list.NextBefore = v.Number
		}
	}
	a.sendJSON(c, list)
}

// version answers GET and HEAD of one version, or of how it differs from another one.
func (a *api) version(c *gin.Context) {
	q := readQuery(c.Request.URL.RawQuery, "against")
	number, err := wholeFrom(1)(c.Param("version"))
	if err != nil {
		q.refuse("The address has no version: %q %s.", cut(c.Param("version")), err)
	}
	which := orders.Which{Numbers: []int64{number}}
	var against int64
	if read(q, "against", &against, wholeFrom(1)) {
		which.Numbers = append(which.Numbers, against)
	}
	past, ok := a.past(c, q, which)
	if !ok {
		return
	}
	var found []orders.Version
	for _, n := range which.Numbers {
		at := slices.IndexFunc(past.Selected, func(v orders.Version) bool { return v.Number == n })
		if at < 0 {
			a.problem(c, versionNotFound.New(fmt.Sprintf("Version %d of the order is not kept: it was removed after its time, or there never was one.", n)))
			return
		}
		found = append(found, past.Selected[at])
	}
	if len(found) == 1 {
		a.send(c, jsonType[0], found[0].Canonical)
		return
	}
	differences, err := differences(found[1].Canonical, found[0].Canonical)
	if err != nil {
		a.problem(c, problem.Of(err))
		return
	}
	a.sendJSON(c, versionDiff{c.Param("order_uid"), number, against, differences})
}

// orderAsOf answers GET and HEAD of an order as it was at a moment.
func (a *api) orderAsOf(c *gin.Context) {
	var which orders.Which
	q := readQuery(c.Request.URL.RawQuery, "as_of")
	if !read(q, "as_of", &which.AsOf, momentDown) {
		q.refuse("The parameter \"as_of\" is missing.")
	}
	past, ok := a.past(c, q, which)
	switch {
	case !ok:
	case len(past.Selected) == 0:
		a.problem(c, versionNotFound.New("What the order was at that time is not known: it was not stored or was deleted then, the version was removed after its time, or it was changed before that was recorded."))
	default:
		a.send(c, jsonType[0], past.Selected[0].Canonical)
	}
}

// past reads versions for a request with this query, as its caller may see them. Unless it
// is ok, the request has its answer.
func (a *api) past(c *gin.Context, q *query, which orders.Which) (past orders.Past, ok bool) {
	uid := c.Param("order_uid")
	switch {
	case !a.validUID(c, uid):
		return past, false
	case q.refused != nil:
		a.problem(c, q.refused)
		return past, false
	}
	past, err := a.Orders.Versions(c.Request.Context(), uid, which)
	switch {
	case errors.Is(err, orders.ErrNoVersions):
		a.problem(c, versionsUnavailable.Wrap(err, "The database's schema is from before version 9, so it keeps no versions. It does once orderctl migrate has run."))
		return past, false
	case err != nil:
		a.unavailable(c, err)
		return past, false
	case !past.Known():
		a.notFound(c, uid)
		return past, false
	case a.Access.Personal(c):
		return past, a.Access.Looked(c, access.Show, uid)
	}
	past.Mask()
	return past, true
}

// differences are the paths at which two versions differ, with the values of both.
func differences(before, after []byte) ([]versionDifference, error) {
	from, err := model.ReadCanonical(before)
	if err != nil {
		return nil, err
	}
	to, err := model.ReadCanonical(after)
	if err != nil {
		return nil, err
	}
	all := []versionDifference{}
	for _, path := range model.Diff(from, to) {
		all = append(all, versionDifference{path, model.ValueAt(from, path), model.ValueAt(to, path)})
	}
	return all, nil
}
