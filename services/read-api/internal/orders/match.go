package orders

import (
	"encoding/json"
	"time"
)

// Attributes are what filters ask of an order.
type Attributes struct {
	CustomerID      string    `json:"customer_id"`
	TrackNumber     string    `json:"track_number"`
	DeliveryService string    `json:"delivery_service"`
	Locale          string    `json:"locale"`
	DateCreated     time.Time `json:"date_created"`
	Payment         *struct {
		Currency string `json:"currency"`
		Amount   int64  `json:"amount"`
	} `json:"payment"`
}

// AttributesOf reads them from an order's canonical JSON.
func AttributesOf(canonical []byte) (a Attributes, err error) {
	err = json.Unmarshal(canonical, &a)
	return a, err
}

// Matches tells whether a list with this filter has an order with these
// attributes.
func (f Filter) Matches(a Attributes) bool {
	equal := func(wanted, is string) bool { return wanted == "" || wanted == is }
	switch {
	case !equal(f.CustomerID, a.CustomerID), !equal(f.TrackNumber, a.TrackNumber),
		!equal(f.DeliveryService, a.DeliveryService), !equal(f.Locale, a.Locale),
		f.CreatedFrom != nil && a.DateCreated.Before(*f.CreatedFrom),
		f.CreatedTo != nil && a.DateCreated.After(*f.CreatedTo):
		return false
	case !f.needsPayment():
		return true
	case a.Payment == nil:
		return false
	}
	return equal(f.Currency, a.Payment.Currency) &&
		(f.AmountMin == nil || a.Payment.Amount >= *f.AmountMin) &&
		(f.AmountMax == nil || a.Payment.Amount <= *f.AmountMax)
}
