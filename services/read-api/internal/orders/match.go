package orders

import "github.com/orderhub/orderhub/libs/model"

// Matches tells whether a list with this filter has the order.
func (f Filter) Matches(o *model.Order) bool {
	equal := func(wanted, is string) bool { return wanted == "" || wanted == is }
	switch {
	case !equal(f.CustomerID, o.CustomerID), !equal(f.TrackNumber, o.TrackNumber),
		!equal(f.DeliveryService, o.DeliveryService), !equal(f.Locale, o.Locale),
		f.CreatedFrom != nil && o.DateCreated.Before(*f.CreatedFrom),
		f.CreatedTo != nil && o.DateCreated.After(*f.CreatedTo):
		return false
	case !f.needsPayment():
		return true
	case o.Payment == nil:
		return false
	}
	return equal(f.Currency, o.Payment.Currency) &&
		(f.AmountMin == nil || o.Payment.Amount >= *f.AmountMin) &&
		(f.AmountMax == nil || o.Payment.Amount <= *f.AmountMax)
}
