package model

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// validator/v10 walks an order by reflection, which costs more than everything else that
// is done with it. So the tags are also compiled into plain functions, which can only
// report that an order breaks no rule. Otherwise validator decides. The tags remain the
// only source of the rules.

// A check reports whether a value breaks no rule of one field.
type check[T any] func(*T) bool

// checks are those of all fields of an order.
type checks struct {
	order    []check[Order]
	delivery []check[Delivery]
	payment  []check[Payment]
	item     []check[Item]
}

func newChecks(r *Rules) *checks {
	return &checks{compile(r, orderFields), compile(r, deliveryFields), compile(r, paymentFields), compile(r, itemFields)}
}

// surelyValid reports whether validator would find no failure in an order.
func (c *checks) surelyValid(o *Order, maxItems int) bool {
	if o.Delivery == nil || o.Payment == nil || len(o.Items) == 0 || len(o.Items) > maxItems ||
		!passes(o, c.order) || !passes(o.Delivery, c.delivery) || !passes(o.Payment, c.payment) {
		return false
	}
	for i := range o.Items {
		if !passes(&o.Items[i], c.item) {
			return false
		}
	}
	return true
}

func passes[T any](v *T, checks []check[T]) bool {
	for _, ok := range checks {
		if !ok(v) {
			return false
		}
	}
	return true
}

// compile returns the checks of the fields' tags. It panics on an unknown rule, so that
// none is left out.
func compile[T any](r *Rules, fields []field[T]) []check[T] {
	var all []check[T]
	tags := r.tagsFor(reflect.TypeFor[T]())
	for _, f := range fields {
		if f.part != nil { // surelyValid checks these
			continue
		}
		tag, optional := strings.CutPrefix(tags[f.name], ruleOmitEmpty+",")
		var own []check[T]
		for one := range strings.SplitSeq(tag, ",") {
			name, param, _ := strings.Cut(one, "=")
			own = append(own, compileRule(r, f, name, param))
		}
		if optional {
			rest := own
			own = []check[T]{func(v *T) bool { return f.isZero(v) || passes(v, rest) }}
		}
		all = append(all, own...)
	}
	return all
}

func tagsOf(t reflect.Type) map[string]string {
	tags := make(map[string]string)
	for f := range t.Fields() {
		tags[f.Tag.Get("json")] = f.Tag.Get("validate")
	}
	return tags
}

func compileRule[T any](r *Rules, f field[T], name, param string) check[T] {
	switch {
	case f.text != nil && name == rulePattern:
		pattern := r.patterns[mustInt(param)].Pattern
		return func(v *T) bool { return pattern.MatchString(*f.text(v)) }
	case f.text != nil:
		if ok := textRule(name, param); ok != nil {
			return func(v *T) bool { return ok(*f.text(v)) }
		}
	case f.number != nil:
		if ok := numberRule(name, param); ok != nil {
			return func(v *T) bool { return ok(*f.number(v)) }
		}
	case f.time != nil:
		if ok := ruleNamed(name).time; ok != nil {
			return func(v *T) bool { return ok(*f.time(v)) }
		}
	}
	panic(fmt.Sprintf("model: field %s has the rule %q, which is not known for its type", f.name, name))
}

func textRule(name, param string) func(string) bool {
	switch name {
	case ruleRequired:
		return func(s string) bool { return s != "" }
	case "max":
		n := int(mustInt(param))
		return func(s string) bool { return len(s) <= n || utf8.RuneCountInString(s) <= n }
	}
	return ruleNamed(name).text
}

func numberRule(name, param string) func(int64) bool {
	switch name {
	case "min":
		n := mustInt(param)
		return func(v int64) bool { return v >= n }
	case "max":
		n := mustInt(param)
		return func(v int64) bool { return v <= n }
	}
	return ruleNamed(name).number
}

func mustInt(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic("model: a rule's parameter is not an integer: " + s)
	}
	return n
}
