package edit

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Whether an edit changes something, and what becomes of it, tells about the values that it
// reads and replaces.
func TestEditsThatTellSomethingAboutMaskedValues(t *testing.T) {
	for assignment, tells := range map[string]bool{
		"locale=en": false, "items[].price=times(., 100)": false, "payment.payment_dt=unix(date_created)": false, ".=strip(.)": false,
		".=decode(., base64)": false, "track_number=copy(order_uid)": false, "payment.amount=number(copy(payment.goods_total))": false,
		"delivery.name=Eve": true, "delivery={}": true, "payment.transaction=x": true, "note=x": true, "items[0].name=x": true, ".={}": true,
		"delivery.phone=replace(., '^.7', '')": true, "locale=copy(delivery.name)": true, "locale=lower(replace(customer_id, 'a', 'b'))": true,
		".=replace(., 'Eve', '')": true, ".=copy(delivery.name)": true, "locale=copy(items[].note)": true,
	} {
		edits, err := ParseSets("entry=WBIL\n" + assignment)
		require.NoError(t, err, assignment)
		require.Equal(t, tells, Tells(edits), assignment)
	}
}
