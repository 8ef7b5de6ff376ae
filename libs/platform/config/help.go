package config

import (
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteHelp prints what a program is for, its arguments and the table of its
// settings. It shows defaults, never the values that are set.
func WriteHelp(w io.Writer, program, about string, cfg any) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nUsage: %s [--help | --version | --healthcheck]\n\n", about, program)
	b.WriteString("Settings are environment variables, or lines of a .env file (in the working\n" +
		"folder, or at the path in GO_DOTENV_PATH). The environment overrides the file.\n\n")
	if err := WriteSettings(&b, cfg); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteSettings prints the table of settings: variable, default, meaning.
func WriteSettings(w io.Writer, cfg any) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "  VARIABLE\tDEFAULT\tMEANING")
	for _, s := range settings(reflect.ValueOf(cfg).Elem()) {
		if s.help == "" { // the file of a secret, which is listed with it
			continue
		}
		_, _ = fmt.Fprintf(t, "  %s\t%s\t%s\n", s.name, s.shown(s.fallback), s.help)
		if s.secret() {
			_, _ = fmt.Fprintf(t, "  %s\t\tfile that holds %s\n", s.name+fileSuffix, s.name)
		}
	}
	return t.Flush()
}

type setting struct {
	name, fallback, help, field string
	overridden                  bool // the default comes from an outer struct's tag
	typ                         reflect.Type
}

func settings(v reflect.Value) (all []setting) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("env"), ",")
		if name == "" {
			if v.Field(i).Kind() != reflect.Struct || !f.IsExported() {
				continue
			}
			for _, s := range settings(v.Field(i)) {
				if value, ok := f.Tag.Lookup(s.name); ok {
					s.fallback, s.overridden = value, true
				}
				all = append(all, s)
			}
			continue
		}
		all = append(all, setting{
			name: name, fallback: f.Tag.Get("envDefault"), help: f.Tag.Get("help"), field: f.Name, typ: f.Type,
		})
	}
	return all
}

func (s setting) secret() bool { return s.typ == reflect.TypeFor[Secret]() }

func (s setting) shown(value string) string {
	if s.secret() {
		return Secret(value).String()
	}
	return value
}

func (s setting) kind() string {
	switch {
	case s.typ == reflect.TypeFor[time.Duration]():
		return "duration (such as 500ms, 10s, 1m)"
	case s.typ.Kind() == reflect.Bool:
		return "true or false"
	case s.typ.Kind() >= reflect.Int && s.typ.Kind() <= reflect.Uint64:
		return "whole number in range"
	default:
		return s.typ.String()
	}
}
