package verify

import (
	"errors"
	"io"

	"github.com/orderhub/orderhub/libs/model"
)

// Different is the kind of an order that two databases have with different content.
const Different Kind = "different"

// Order is an order of one of two databases that are compared.
type Order struct {
	UID   string
	Order *model.Order // nil: its rows are no order
	Wrong []string     // the paths that keep it from being one
}

// Databases compares two databases' orders, which theirs and ours give sorted by the
// bytes of their uids, until io.EOF. It returns how many orders it looked at. Missing are
// those that only theirs has, extra those that only ours has.
func Databases(theirs, ours func() (Order, error), found func(Difference) error) (checked int64, err error) {
	their, theirErr := theirs()
	our, ourErr := ours()
	matched := false // our order was compared: theirs may have several of a uid
	for {
		switch {
		case theirErr != nil && !errors.Is(theirErr, io.EOF):
			return checked, theirErr
		case ourErr != nil && !errors.Is(ourErr, io.EOF):
			return checked, ourErr
		case theirErr != nil && ourErr != nil:
			return checked, nil //nolint:nilerr // both are io.EOF
		case theirErr != nil || ourErr == nil && our.UID < their.UID:
			if !matched {
				checked++
				if err := found(Difference{UID: our.UID, Kind: Extra}); err != nil {
					return checked, err
				}
			}
			matched = false
			our, ourErr = ours()
		default:
			checked++
			d := Difference{UID: their.UID, Kind: Missing, Paths: their.Wrong}
			if ourErr == nil && our.UID == their.UID {
				matched = true
				d.Kind, d.Paths = Different, difference(their, our)
			}
			if d.Kind == Missing || len(d.Paths) > 0 {
				if err := found(d); err != nil {
					return checked, err
				}
			}
			their, theirErr = theirs()
		}
	}
}

func difference(a, b Order) []string {
	if a.Order == nil || b.Order == nil {
		return append(append([]string{}, a.Wrong...), b.Wrong...)
	}
	return model.Diff(a.Order, b.Order)
}
