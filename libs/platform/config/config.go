// Package config fills a program's settings from the environment and a .env file.
// It refuses values that it does not understand and names their variables.
//
// A setting is a struct field with the tags env (the variable's name), envDefault, help and
// validate (what package validator checks, or bytes, the least length). Nested structs group settings that programs share. A tag with a
// variable's name on the field of a nested struct overrides a default in it:
//
//	config.Service `ADMIN_ADDR:"127.0.0.1:9080"`
package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/go-playground/validator/v10"
)

// Load fills cfg, a pointer to a struct, and checks it as [Check] does. The environment overrides the .env file, which
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
	return Check(cfg)
}

// Check does what the tags of cfg, a pointer to a struct, ask for, and calls Validate on it
// and on each nested struct that has that method.
func Check(cfg any) error {
	v := validator.New()
	v.RegisterTagNameFunc(func(f reflect.StructField) string { return f.Tag.Get("env") })
	err := v.RegisterValidation("bytes", func(f validator.FieldLevel) bool {
		least, err := strconv.Atoi(f.Param())
		return err == nil && f.Field().Len() >= least
	})
	errs := []error{err}
	var wrong validator.ValidationErrors
	if errors.As(v.Struct(cfg), &wrong) {
		for _, one := range wrong {
			errs = append(errs, refused(one))
		}
	}
	return errors.Join(append(errs, validate(reflect.ValueOf(cfg).Elem())...)...)
}

// refused names the variable, but no value that may be secret.
func refused(e validator.FieldError) error {
	switch e.Tag() {
	case "oneof":
		return fmt.Errorf("%s: unknown value %q: use %s", e.Field(), e.Value(), strings.ReplaceAll(e.Param(), " ", ", "))
	case "bytes":
		return fmt.Errorf("%s: has %d bytes, fewer than %s", e.Field(), reflect.ValueOf(e.Value()).Len(), e.Param())
	case "http_url":
		return fmt.Errorf("%s: not an address such as https://name.example/path", e.Field())
	case "min":
		return fmt.Errorf("%s: %v is less than %s", e.Field(), e.Value(), e.Param())
	default:
		return fmt.Errorf("%s: %v is more than %s", e.Field(), e.Value(), e.Param())
	}
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

// Pair checks that both of two settings are set or none, for Validate methods.
func Pair[A, B ~string](name string, value A, other string, with B) error {
	if (value == "") != (with == "") {
		return fmt.Errorf("%s and %s: set both or none", name, other)
	}
	return nil
}
