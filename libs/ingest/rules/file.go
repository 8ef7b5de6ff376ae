package rules

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/orderhub/orderhub/libs/model"
)

// Parse reads a rules file in YAML:
//
//	version: shop-2026-05                  # recorded in dead letters; without it a hash of the file
//	fields:
//	  delivery.email: optional             # absent, null or empty; otherwise an e-mail address
//	  delivery.phone: any_phone            # another named rule
//	  items[].sale: off                    # any integer from 0 to 2^53-1
//	  delivery.zip: {optional: true, pattern: '[0-9]{5,6}', message: must be a postal code}
//	  items[].name: {rule: [required, max=4000]}
//
// Each line of the error begins with the file's name and the line's number.
func Parse(name string, data []byte) (*model.Rules, error) {
	r := &reader{name: name}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(document.Content) == 0 {
		return nil, fmt.Errorf("%s: the file is empty", name)
	}
	r.document(document.Content[0])
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	if r.version == "" {
		sum := sha256.Sum256(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")))
		r.version = hex.EncodeToString(sum[:4])
	}
	return model.NewRules(r.version, r.fields)
}

// reader collects what a file says, and what is wrong with it.
type reader struct {
	name    string
	version string
	fields  []model.FieldRule
	errs    []error
}

func (r *reader) fail(at *yaml.Node, format string, args ...any) {
	r.errs = append(r.errs, fmt.Errorf("%s:%d: %s", r.name, at.Line, fmt.Sprintf(format, args...)))
}

// each calls use for each member of a mapping whose name is new.
func (r *reader) each(of *yaml.Node, what string, use func(name, value *yaml.Node)) {
	if of.Kind != yaml.MappingNode {
		r.fail(of, "%s must be a list of NAME: value", what)
		return
	}
	seen := map[string]int{}
	for i := 0; i < len(of.Content); i += 2 {
		name, value := of.Content[i], of.Content[i+1]
		if value.Kind == yaml.AliasNode {
			value = value.Alias
		}
		if line, twice := seen[name.Value]; twice {
			r.fail(name, "%s is in line %d already", name.Value, line)
			continue
		}
		seen[name.Value] = name.Line
		use(name, value)
	}
}

// maxVersion is the longest version, since it goes into each letter's header.
const maxVersion = 64

var versionForm = regexp.MustCompile(fmt.Sprintf(`^[A-Za-z0-9._+-]{1,%d}$`, maxVersion))

func (r *reader) document(node *yaml.Node) {
	r.each(node, "the file", func(name, value *yaml.Node) {
		switch name.Value {
		case "version":
			if r.version = value.Value; value.Kind != yaml.ScalarNode || !versionForm.MatchString(value.Value) {
				r.fail(value, "version must be 1 to %d characters of A-Z, a-z, 0-9, ., _, + and -", maxVersion)
			}
		case "fields":
			r.each(value, "fields", r.field)
		default:
			r.fail(name, "%q is unknown: a rules file has version and fields", name.Value)
		}
	})
}

// field reads what the file says of one field.
func (r *reader) field(name, value *yaml.Node) {
	rule := model.FieldRule{Path: name.Value}
	before := len(r.errs)
	switch value.Kind {
	case yaml.ScalarNode:
		r.word(&rule, value)
	case yaml.MappingNode:
		r.each(value, name.Value, func(key, value *yaml.Node) { r.part(&rule, key, value) })
	default:
		r.fail(value, "%s must be off, optional, the name of a rule, or {rule, pattern, message, optional}", name.Value)
	}
	if len(r.errs) > before {
		return
	}
	if err := rule.Check(); err != nil {
		r.fail(name, "%s: %v", name.Value, err)
		return
	}
	r.fields = append(r.fields, rule)
}

func (r *reader) word(rule *model.FieldRule, value *yaml.Node) {
	switch value.Value {
	case "off":
		rule.Off = true
	case "optional":
		rule.Optional = true
	default:
		rule.Rules = []string{value.Value}
	}
}

func (r *reader) part(rule *model.FieldRule, key, value *yaml.Node) {
	switch key.Value {
	case "optional":
		if value.Decode(&rule.Optional) != nil {
			r.fail(value, "optional must be true or false")
		}
	case "message":
		if value.Decode(&rule.Message) != nil {
			r.fail(value, "message must be a text")
		}
	case "rule":
		if value.Kind != yaml.SequenceNode {
			r.word(rule, value)
		} else if value.Decode(&rule.Rules) != nil {
			r.fail(value, "rule must be the name of a rule, or a list of names")
		}
	case "pattern":
		if value.Kind != yaml.ScalarNode { // [a-z] without quotation marks is a list in YAML
			r.fail(value, "pattern must be a text: put it between quotation marks")
			return
		}
		var err error
		if rule.Pattern, err = regexp.Compile(value.Value); err != nil {
			r.fail(value, "pattern is not a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		}
	default:
		r.fail(key, "%q is unknown: a field has rule, pattern, message and optional", key.Value)
	}
}
