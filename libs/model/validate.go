package model

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-playground/validator/v10"
)

// newValidator returns a validator with the rules of this package.
func newValidator(r *Rules, maxItems int) *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	for t := range r.tags {
		byGoName := map[string]string{}
		for f := range t.Fields() {
			if tag, replaced := r.tags[t][f.Tag.Get("json")]; replaced {
				byGoName[f.Name] = tag
			}
		}
		v.RegisterStructValidationMapRules(byGoName, reflect.Zero(t).Interface())
	}
	register(v, rulePattern, func(fl validator.FieldLevel) bool {
		return r.patterns[mustInt(fl.Param())].Pattern.MatchString(fl.Field().String())
	})
	v.RegisterTagNameFunc(func(f reflect.StructField) string { return f.Tag.Get("json") })
	for _, rule := range rules {
		register(v, rule.name, func(fl validator.FieldLevel) bool {
			switch field := fl.Field(); {
			case rule.text != nil:
				return rule.text(field.String())
			case rule.number != nil:
				return rule.number(field.Int())
			default:
				t, ok := field.Interface().(time.Time)
				return ok && rule.time(t)
			}
		})
	}
	register(v, ruleMaxItems, func(fl validator.FieldLevel) bool { return fl.Field().Len() <= maxItems })
	return v
}

func register(v *validator.Validate, name string, ok validator.Func) {
	if err := v.RegisterValidation(name, ok); err != nil {
		panic("model: the rule " + name + " cannot be registered: " + err.Error())
	}
}

// ruleFailures returns the failures that validator finds, in the order of the structs,
// which is that of the canonical JSON.
func (c *Codec) ruleFailures(o *Order) []FieldError {
	err := c.validator.Struct(o)
	if err == nil {
		return nil
	}
	var found validator.ValidationErrors
	if !errors.As(err, &found) {
		panic("model: validator cannot check orders: " + err.Error()) // only if it is not given a struct
	}
	failures := make([]FieldError, len(found))
	for i, fe := range found {
		_, path, _ := strings.Cut(fe.Namespace(), ".") // without the struct's name
		failures[i] = FieldError{Path: path, Rule: fe.Tag(), Message: c.message(fe)}
	}
	return failures
}

// message describes in words what a failed rule requires.
func (c *Codec) message(fe validator.FieldError) string {
	text := fe.Kind() == reflect.String
	switch fe.Tag() {
	case ruleRequired:
		if text {
			return "must not be empty"
		}
		return messageMissing
	case ruleMaxItems:
		return messageMaxItems(c.opts.MaxItems)
	case rulePattern:
		return withHidden(c.opts.Rules.patterns[mustInt(fe.Param())].Message, fe)
	case "min":
		if fe.Kind() == reflect.Slice {
			return "must have at least " + fe.Param() + " item"
		}
		return "must be at least " + fe.Param()
	case "max":
		if text {
			return "must have at most " + fe.Param() + " characters"
		}
		if fe.Param() == maxInteger {
			return "must be at most " + maxInteger + ", the largest integer that every JSON reader keeps"
		}
		return "must be at most " + fe.Param()
	}
	r := ruleNamed(fe.Tag())
	message := withHidden(r.message, fe)
	switch s, _ := fe.Value().(string); {
	case !text || message != r.message:
	case s == "" && r.name != "order_uid":
		message += "; it is empty (a rules file can make it optional)"
	case r.hint != nil && r.hint(s) != "":
		message += "; " + r.hint(s)
	}
	return message
}

// maxInteger is MaxInteger as the tags have it.
var maxInteger = strconv.Itoa(MaxInteger)

// withHidden adds to a message what nobody can see in the field's text.
func withHidden(message string, fe validator.FieldError) string {
	if s, ok := fe.Value().(string); ok {
		if hidden := hiddenIn(s); hidden != "" {
			return message + "; " + hidden
		}
	}
	return message
}

func messageMaxItems(n int) string {
	return "must have at most " + strconv.Itoa(n) + " items"
}

// sumFailures checks the sums of an order whose payment and items have no other
// failures.
func sumFailures(o *Order, failures []FieldError) []FieldError {
	for _, f := range failures {
		if strings.HasPrefix(f.Path, "payment") || strings.HasPrefix(f.Path, "items") {
			return nil
		}
	}
	var sums []FieldError
	p := o.Payment
	// Amounts are at most MaxInteger, so the sum of three does not overflow.
	if p.Amount != p.GoodsTotal+p.DeliveryCost+p.CustomFee {
		sums = append(sums, FieldError{"payment.amount", ruleSum, "must be the sum of goods_total, delivery_cost and custom_fee"})
	}
	var goods int64
	for i := range o.Items {
		price := o.Items[i].TotalPrice
		if goods > math.MaxInt64-price {
			goods = -1 // larger than any goods_total
			break
		}
		goods += price
	}
	if p.GoodsTotal != goods {
		sums = append(sums, FieldError{"payment.goods_total", ruleSum, "must be the sum of the items' total_price"})
	}
	return sums
}

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
	for _, f := range named(fields) {
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
