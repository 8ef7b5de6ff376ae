package model

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Schema returns the JSON Schema (2020-12) of a record that Decode accepts with the rules
// of the tags and the default Options. It is made from the structs, their tags and the
// registered rules.
//
// It accepts every record that Decode accepts, and some more, since JSON Schema cannot say
// everything: that no name comes twice, that 100.0 is no integer, which days a month has,
// and how many bytes a text has.
var Schema = sync.OnceValue(func() []byte {
	schema := keywords{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       "Order",
		"description": "A record of the topic of orders. Fields that an order does not have are not refused here.",
	}
	schema.add("order", schemaOf(orderFields))
	text, err := json.Marshal(schema, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		panic("model: the schema is no JSON: " + err.Error())
	}
	return append(text, '\n')
})

// keywords are those of a JSON Schema.
type keywords map[string]any

// add adds keywords of the field. A schema has each only once.
func (k keywords) add(field string, more keywords) {
	for name := range more {
		if _, twice := k[name]; twice {
			panic(fmt.Sprintf("model: two rules of %s give the keyword %s", field, name))
		}
	}
	maps.Copy(k, more)
}

func schemaOf[T any](fields []field[T]) keywords {
	tags := tagsOf(reflect.TypeFor[T]())
	var all properties
	var required []string
	for _, f := range named(fields) {
		schema := keywords{}
		switch {
		case f.part != nil:
			schema.add(f.name, f.part.schema())
		case f.number != nil:
			schema["type"] = "integer"
		default:
			schema["type"] = "string"
		}
		for rule := range strings.SplitSeq(tags[f.name], ",") {
			schema.add(f.name, ruleSchema(rule, schema["type"]))
		}
		all = append(all, property{f.name, schema})
		if !f.optional {
			required = append(required, f.name)
		}
	}
	return keywords{"type": "object", "required": required, "properties": all}
}

// ruleSchema is what a rule of a tag says about values of a type.
func ruleSchema(tag string, of any) keywords {
	name, param, _ := strings.Cut(tag, "=")
	switch {
	case name == ruleRequired && of == "string":
		return keywords{"minLength": 1}
	case name == ruleRequired, name == "dive": // the order's parts
		return nil
	case name == ruleMaxItems:
		return keywords{"maxItems": DefaultMaxItems}
	case name == "max" && of == "string":
		return keywords{"maxLength": mustInt(param)}
	case name == "max":
		return keywords{"maximum": mustInt(param)}
	case name == "min" && of == "array":
		return keywords{"minItems": mustInt(param)}
	case name == "min":
		return keywords{"minimum": mustInt(param)}
	}
	schema := ruleNamed(name).schema
	if schema == nil {
		panic("model: the rule " + name + " has no JSON Schema")
	}
	return schema
}

// properties are an object's properties in the order of the canonical JSON.
type properties []property

type property struct {
	name   string
	schema keywords
}

// MarshalJSONTo writes them as a JSON object.
func (p properties) MarshalJSONTo(to *jsontext.Encoder) error {
	if err := to.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, one := range p {
		if err := to.WriteToken(jsontext.String(one.name)); err != nil {
			return err
		}
		if err := json.MarshalEncode(to, one.schema); err != nil {
			return err
		}
	}
	return to.WriteToken(jsontext.EndObject)
}

// The patterns below are regular expressions as ECMAScript and Go both read them.
const (
	// mailAtom and mailLabel are what may stand between the points of the two sides of an
	// e-mail address.
	mailAtom  = `[^\x00-\x20"(),.:;<>@\[\\\]\x7F]+`
	mailEnd   = `[^\x00-\x2F:-@\[-\x60\{-\x7F]`
	mailLabel = mailEnd + `([^\x00-\x2C.\/:-@\[-\x60\{-\x7F]*` + mailEnd + `)?`

	patternText  = `^[^\x00]*$`
	patternUID   = `^[A-Za-z0-9_.\-]{1,64}$`
	patternPhone = `^\+[1-9][0-9]{6,14}$`
	patternEmail = `^` + mailAtom + `(\.` + mailAtom + `)*@` + mailLabel + `(\.` + mailLabel + `)+$`
	patternTime  = `^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?` +
		`([Zz]|[+\-]([01][0-9]|2[0-3]):[0-5][0-9])$`
)
