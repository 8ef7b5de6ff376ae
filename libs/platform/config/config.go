// Package config fills a service's settings from the environment and a .env
// file, and refuses what it does not understand, naming the variable.
//
// A setting is a struct field with the tags env (the variable's name),
// envDefault and help. Nested structs group settings that services share.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/joho/godotenv"
)

// dotenvPath names the variable that says where the .env file is.
const dotenvPath = "GO_DOTENV_PATH"

// Load fills cfg, a pointer to a struct, and calls Validate on it and on each
// nested struct that has that method. The environment wins over the .env file
// (at GO_DOTENV_PATH, or in the working folder where there is one). All that is
// wrong is returned in one error, a line a variable.
func Load(cfg any) error {
	environment, err := environment()
	if err != nil {
		return err
	}
	if err := env.ParseWithOptions(cfg, env.Options{Environment: environment}); err != nil {
		return readable(err, environment, cfg)
	}
	return errors.Join(validate(reflect.ValueOf(cfg).Elem())...)
}

// Lookup returns one variable as Load would see it.
func Lookup(name string) (string, bool) {
	environment, err := environment()
	if err != nil {
		return os.LookupEnv(name)
	}
	value, ok := environment[name]
	return value, ok
}

func environment() (map[string]string, error) {
	merged := map[string]string{}
	path, named := os.LookupEnv(dotenvPath)
	if !named || path == "" {
		path, named = ".env", false
	}
	file, err := godotenv.Read(path)
	switch {
	case err == nil:
		merged = file
	case errors.Is(err, fs.ErrNotExist) && !named:
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: there is no file %s", dotenvPath, path)
	default:
		// The parser quotes the line it stumbled over, which may hold a secret.
		return nil, fmt.Errorf("%s: not a list of NAME=value lines", path)
	}
	for _, pair := range os.Environ() {
		// An empty variable means what an absent one means, as compose files
		// pass on what is not set as empty.
		if name, value, _ := strings.Cut(pair, "="); value != "" {
			merged[name] = value
		}
	}
	for name, value := range merged {
		if value == "" {
			delete(merged, name)
		}
	}
	return merged, nil
}

// readable turns the parser's errors, which name Go fields, into ones that name
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
				out = append(out, fmt.Errorf("%s: %q is no %s: %w", s.name, s.shown(value), s.kind(), cause))
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

// OneOf is what a Validate method calls for a setting with a fixed set of values.
func OneOf(name, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s: unknown value %q: use %s", name, value, strings.Join(allowed, ", "))
}
