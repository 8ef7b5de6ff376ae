// Package config fills a program's settings from the environment and a .env file.
// It refuses values that it does not understand and names their variables.
//
// A setting is a struct field with the tags env (the variable's name), envDefault
// and help. Nested structs group settings that programs share. A tag with a
// variable's name on the field of a nested struct overrides a default in it:
//
//	config.Service `ADMIN_ADDR:"127.0.0.1:9080"`
package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Load fills cfg, a pointer to a struct, and calls Validate on it and on each
// nested struct that has that method. The environment overrides the .env file, which
// is at GO_DOTENV_PATH or, if there is one, in the working folder. A Secret NAME may be
// in a file that NAME_FILE names; a field for NAME_FILE itself, without help, gets the
// path, for [Secret.Now]. The error has one line for each variable that cannot
// be used.
func Load(cfg any) error {
	environment, err := environment()
	if err != nil {
		return err
	}
	if errs := prepare(environment, cfg); len(errs) > 0 {
		return errors.Join(errs...)
	}
	if err := env.ParseWithOptions(cfg, env.Options{Environment: environment}); err != nil {
		return readable(err, environment, cfg)
	}
	return errors.Join(validate(reflect.ValueOf(cfg).Elem())...)
}

// readable turns the parser's errors, which name Go fields, into errors that name
// variables. Values of secrets are left out.
func readable(err error, environment map[string]string, cfg any) error {
	var all env.AggregateError
	if !errors.As(err, &all) {
		return err
	}
	var out []error
	for _, one := range all.Errors {
		var parse env.ParseError
		if !errors.As(one, &parse) {
			out = append(out, one)
			continue
		}
		for _, s := range settings(reflect.ValueOf(cfg).Elem()) {
			if s.field != parse.Name {
				continue
			}
			if value, set := environment[s.name]; set {
				cause := parse.Err
				if unwrapped := errors.Unwrap(cause); unwrapped != nil {
					cause = unwrapped
				}
				out = append(out, fmt.Errorf("%s: %q is not a %s: %w", s.name, s.shown(value), s.kind(), cause))
			}
		}
	}
	if len(out) == 0 {
		return err
	}
	return errors.Join(out...)
}

func validate(v reflect.Value) (errs []error) {
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Struct && v.Type().Field(i).IsExported() {
			errs = append(errs, validate(f)...)
		}
	}
	if checked, ok := v.Addr().Interface().(interface{ Validate() error }); ok {
		if err := checked.Validate(); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// OneOf checks a setting with a fixed set of values, for Validate methods.
func OneOf(name, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s: unknown value %q: use %s", name, value, strings.Join(allowed, ", "))
}

// Between checks that a setting is from least to most, for Validate methods.
func Between[T int | int64 | time.Duration](name string, value, least, most T) error {
	if value < least || value > most {
		return fmt.Errorf("%s: %v is not from %v to %v", name, value, least, most)
	}
	return nil
}
