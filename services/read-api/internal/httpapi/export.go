package httpapi

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/read-api/internal/access"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

const exportPath = "/api/v1/export"

// export answers with all orders of a list, page by page as they are read.
func (a *api) export(c *gin.Context) {
	q := a.readFilter(c, "format", "after", "fields")
	filter, format := q.filter(), ""
	read(q, "format", &format, either("ndjson", "csv"))
	asCSV := format == "csv"
	var fields []string
	if read(q, "fields", &fields, fieldsOf) && asCSV {
		q.refuse("The parameter \"fields\" is for ndjson: csv always has the same columns.")
	}
	var after *orders.Key
	read(q, "after", &after, func(text string) (*orders.Key, error) { return placeOf(text, filter) })
	if q.refused != nil {
		a.problem(c, q.refused)
		return
	}
	page, err := a.nextPage(c.Request.Context(), filter, after)
	if err != nil {
		a.unavailable(c, err)
		return
	}
	if !a.Access.Looked(c, access.Show, page.UIDs...) {
		return
	}
	h := c.Writer.Header()
	h["Cache-Control"], h["X-Content-Type-Options"] = noStore, nosniff
	write, contentType, name := writeLines, "application/x-ndjson", "orders.ndjson"
	if asCSV {
		write, contentType, name = writeRows, "text/csv; charset=utf-8; header=present", "orders.csv"
	}
	h.Set("Content-Type", contentType)
	c.Status(http.StatusOK)
	if c.Request.Method == http.MethodHead {
		return
	}
	h.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	control := http.NewResponseController(c.Writer)
	_ = control.SetReadDeadline(time.Time{}) // as of streams
	masked, ended := !a.Access.Personal(c), a.credentialEnded(c)
	for first := true; ; first = false {
		if masked || fields != nil {
			page.Orders = slices.Clone(page.Orders)
			for i, canonical := range page.Orders {
				page.Orders[i] = appendOrder(nil, canonical, fields, masked)
			}
		}
		err := write(c.Writer, page.Orders, first)
		if err == nil {
			err = control.Flush()
		}
		if err == nil && page.Next == nil {
			return
		}
		if err == nil {
			page, err = a.nextPage(c.Request.Context(), filter, page.Next)
		}
		if err == nil && a.Access.On() && !masked {
			err = a.Access.Shown(c, page.UIDs)
		}
		select {
		case <-ended:
			err = errCredential
		default:
		}
		if err != nil {
			panic(http.ErrAbortHandler) // the client must not take a part for the whole
		}
	}
}

// placeOf reads the place of an order in the list: its date_created and order_uid, as they
// are in its line.
func placeOf(text string, filter orders.Filter) (*orders.Key, error) {
	created, uid, _ := strings.Cut(text, ",")
	at, bad := momentDown(created)
	if _, worse := shortText(uid); bad != nil || worse != nil {
		return nil, errors.New("is not date_created and order_uid of an order, with a comma in between")
	}
	if filter.CreatedTo != nil && at.After(*filter.CreatedTo) {
		return nil, errors.New("is after created_to: it is not of this list")
	}
	return &orders.Key{Created: *at, UID: uid}, nil
}

// nextPage reads a page of a snapshot or an export. All of these read one at a time, so that
// others' lists do not wait for them.
func (a *api) nextPage(ctx context.Context, filter orders.Filter, after *orders.Key) (orders.Page, error) {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
		return a.Orders.List(ctx, filter, after, orders.MaxLimit, false)
	case <-ctx.Done():
		return orders.Page{}, ctx.Err()
	}
}

func writeLines(to io.Writer, page [][]byte, _ bool) error {
	var lines []byte
	for _, canonical := range page {
		lines = append(append(lines, canonical...), '\n')
	}
	_, err := to.Write(lines)
	return err
}

// exportColumns are the columns of CSV: the part of the order, "" for itself, and the field. The
// items, as JSON, are behind them.
var exportColumns = func() (all [][2]string) {
	for _, part := range []struct {
		name   string
		fields []string
	}{{"", orderdb.Orders.Columns}, {"delivery", orderdb.Deliveries.Columns[1:]}, {"payment", orderdb.Payments.Columns[1:]}} {
		for _, field := range part.fields {
			if field != "unknown_fields" { // which the order's JSON does not have
				all = append(all, [2]string{part.name, field})
			}
		}
	}
	return all
}()

func writeRows(to io.Writer, page [][]byte, first bool) error {
	w := csv.NewWriter(to)
	if first {
		var head []string
		for _, column := range exportColumns {
			head = append(head, strings.TrimPrefix(column[0]+"_"+column[1], "_"))
		}
		_ = w.Write(append(head, "items")) // Error has it
	}
	for _, canonical := range page {
		var whole, delivery, payment map[string]json.RawMessage
		err := json.Unmarshal(canonical, &whole)
		err = errors.Join(err, json.Unmarshal(whole["delivery"], &delivery), json.Unmarshal(whole["payment"], &payment))
		if err != nil {
			return err
		}
		parts := map[string]map[string]json.RawMessage{"": whole, "delivery": delivery, "payment": payment}
		var row []string
		for _, column := range exportColumns {
			row = append(row, web.Cell(plainText(parts[column[0]][column[1]])))
		}
		_ = w.Write(append(row, string(whole["items"])))
	}
	w.Flush()
	return w.Error()
}

// plainText is a value as a cell has it; null is none.
func plainText(value json.RawMessage) (text string) {
	if json.Unmarshal(value, &text) != nil {
		return string(value)
	}
	return text
}
