package model

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// FieldRule replaces the rule of one field, which the struct's tag says otherwise. What
// keys and columns depend on stays: that texts are UTF-8 without NUL, and the bounds of
// integers.
type FieldRule struct {
	// Path is the field with its JSON names; items[].size is that of each item.
	Path string
	// Optional accepts the field when it is absent, null or empty. It is "" or 0 then.
	// Without anything else the field's rule applies to values that are not empty.
	Optional bool
	// Off accepts any value.
	Off bool
	// Rules are names of rules with their parameters, such as email, required or max=64.
	Rules []string
	// Pattern must match the whole value of a string.
	Pattern *regexp.Regexp
	// Message says in words what Pattern requires; "" shows the pattern.
	Message string
}

// Rules are the rules of all fields. The zero value has those of the tags. Rules do not
// change, so they may be shared.
type Rules struct {
	version  string
	tags     map[reflect.Type]map[string]string // by the field's JSON name
	optional map[string]bool                    // by path
	patterns []FieldRule
}

// NewRules returns the rules of the tags with those of some fields replaced. The version
// names them in dead letters. An error is that of the first FieldRule that Check refuses.
func NewRules(version string, replaced []FieldRule) (*Rules, error) {
	r := &Rules{version: version, tags: map[reflect.Type]map[string]string{}, optional: map[string]bool{}}
	for _, f := range replaced {
		if err := f.Check(); err != nil {
			return nil, err
		}
		target := ruleTargets[f.Path]
		tag := f.tag(target)
		if f.Pattern != nil {
			tag += "," + rulePattern + "=" + strconv.Itoa(len(r.patterns))
			if f.Message == "" {
				f.Message = "must match the pattern " + f.Pattern.String() + " of the rules file"
			}
			var err error
			if f.Pattern, err = regexp.Compile(`\A(?:` + f.Pattern.String() + `)\z`); err != nil {
				return nil, fmt.Errorf("%s: %w", f.Path, err)
			}
			r.patterns = append(r.patterns, f)
		}
		if f.Optional {
			tag = ruleOmitEmpty + "," + tag
			r.optional[f.Path] = true
		}
		if r.tags[target.parent] == nil {
			r.tags[target.parent] = map[string]string{}
		}
		r.tags[target.parent][target.name] = tag
	}
	return r, nil
}

// Version names the rules in dead letters; "" if they are those of the tags.
func (r *Rules) Version() string { return r.version }

const (
	ruleOmitEmpty = "omitempty"
	rulePattern   = "pattern"
)

// ruleTarget is a field of an order, as far as its rule can be replaced.
type ruleTarget struct {
	parent   reflect.Type
	name     string // in JSON
	tag      string
	position int // in canonical JSON, among those of its object
	text     bool
	fixed    bool   // keys and columns depend on its rule
	base     string // what always holds
}

// ruleTargets are all fields by path.
var ruleTargets = func() map[string]ruleTarget {
	targets := map[string]ruleTarget{}
	addTargets(targets, "", orderFields)
	addTargets(targets, "delivery.", deliveryFields)
	addTargets(targets, "payment.", paymentFields)
	addTargets(targets, "items[].", itemFields)
	return targets
}()

func addTargets[T any](targets map[string]ruleTarget, prefix string, fields []field[T]) {
	parent := reflect.TypeFor[T]()
	tags := tagsOf(parent)
	for i, f := range named(fields) {
		target := ruleTarget{
			parent: parent, name: f.name, tag: tags[f.name], position: i + 1, base: ruleText,
			text: f.text != nil || f.time != nil, fixed: f.name == "order_uid" || f.time != nil || f.part != nil,
		}
		switch {
		case f.name == "payment_dt":
			target.base = target.tag
		case f.number != nil:
			target.base = "min=0,max=" + maxInteger
		}
		targets[prefix+f.name] = target
	}
}

var itemIndex = regexp.MustCompile(`\[\d*\]`)

// IsText reports whether the field at a path, such as items[2].size, is a string in JSON.
func IsText(path string) bool { return ruleTargets[itemIndex.ReplaceAllString(path, "[]")].text }

// ruleNames are the names of the rules that strings can have.
func ruleNames() []string {
	names := []string{ruleRequired, "max=N"}
	for _, r := range rules {
		if r.text != nil && r.name != "order_uid" {
			names = append(names, r.name)
		}
	}
	slices.Sort(names)
	return names
}

// Check says why a rule cannot be replaced so; nil if it can.
func (f FieldRule) Check() error {
	target, known := ruleTargets[f.Path]
	switch {
	case target.fixed:
		return fmt.Errorf("the rule of %s cannot be replaced: keys and columns depend on it", f.Path)
	case !known && strings.HasPrefix(f.Path, "items["):
		return fmt.Errorf("%s is not a field of an order: items[].size is that of each item", f.Path)
	case !known:
		return fmt.Errorf("%s is not a field of an order, such as delivery.phone or items[].size", f.Path)
	case f.Off && (f.Optional || f.Pattern != nil || len(f.Rules) > 0):
		return errors.New("off accepts everything: nothing can be added to it")
	case !f.Off && !f.Optional && f.Pattern == nil && len(f.Rules) == 0:
		return errors.New("say off, optional, or name a rule or a pattern")
	case f.Pattern != nil && !target.text:
		return errors.New("a number cannot have a pattern")
	case f.Pattern == nil && f.Message != "":
		return errors.New("a message belongs to a pattern")
	}
	for _, rule := range f.Rules {
		if err := checkRule(rule, target.text); err != nil {
			return err
		}
	}
	return nil
}

func checkRule(rule string, text bool) error {
	name, param, _ := strings.Cut(rule, "=")
	n, err := strconv.ParseInt(param, 10, 64)
	bound := err == nil && n >= 0 && n <= MaxInteger && param == strconv.FormatInt(n, 10)
	switch {
	case name == "max" && bound, name == "min" && bound && !text:
		return nil
	case name == "max" || name == "min" && !text:
		return fmt.Errorf("%s needs an integer from 0 to %s, as in %s=64", name, maxInteger, name)
	case text && param == "" && slices.Contains(ruleNames(), name):
		return nil
	case text:
		return fmt.Errorf("there is no rule %q for strings: use %s", rule, strings.Join(ruleNames(), ", "))
	}
	return fmt.Errorf("there is no rule %q for integers: use min=N or max=N", rule)
}

// tag is the tag without optional and pattern.
func (f FieldRule) tag(target ruleTarget) string {
	switch {
	case len(f.Rules) > 0:
		return target.base + "," + strings.Join(f.Rules, ",")
	case f.Optional && f.Pattern == nil:
		return strings.TrimPrefix(target.tag, ruleRequired+",")
	}
	return target.base
}

// tagsFor are the tags of a struct's fields, by JSON name.
func (r *Rules) tagsFor(t reflect.Type) map[string]string {
	tags := tagsOf(t)
	maps.Copy(tags, r.tags[t])
	return tags
}
