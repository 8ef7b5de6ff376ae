package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"reflect"
	"strings"
	"unicode"
)

const (
	// dotenvPath is the variable with the path of the .env file.
	dotenvPath = "GO_DOTENV_PATH"
	// fileSuffix makes the name of the variable with the path of a file that holds a
	// secret.
	fileSuffix = "_FILE"
)

// Lookup returns the value of one variable as Load sees it.
func Lookup(name string) (string, bool) {
	environment, err := environment()
	if err != nil {
		return os.LookupEnv(name)
	}
	value, ok := environment[name]
	return value, ok
}

// environment merges the variables of the .env file and of the process, without empty
// ones.
func environment() (map[string]string, error) {
	path, named := os.LookupEnv(dotenvPath)
	if !named || path == "" {
		path, named = ".env", false
	}
	merged := map[string]string{}
	content, err := os.ReadFile(path)
	switch {
	case err == nil:
		if merged, err = parseDotenv(content); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	case errors.Is(err, fs.ErrNotExist) && !named:
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: there is no file %s", dotenvPath, path)
	default:
		return nil, err
	}
	own := map[string]string{}
	for _, pair := range os.Environ() {
		// An empty variable counts as absent: compose files pass on variables
		// that are not set as empty ones.
		if name, value, _ := strings.Cut(pair, "="); value != "" {
			own[name] = value
			// Name and name_FILE are one setting: the process's replaces the file's.
			delete(merged, name+fileSuffix)
			delete(merged, strings.TrimSuffix(name, fileSuffix))
		}
	}
	maps.Copy(merged, own)
	maps.DeleteFunc(merged, func(_, value string) bool { return value == "" })
	return merged, nil
}

// prepare puts the contents of secrets' files into the environment, and removes the
// line breaks that files and Kubernetes leave at the end of values.
func prepare(environment map[string]string, cfg any) (errs []error) {
	for _, s := range settings(reflect.ValueOf(cfg).Elem()) {
		if s.secret() {
			if err := fromFile(environment, s.name); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		value, set := environment[s.name]
		if !set {
			if s.overridden {
				environment[s.name] = s.fallback
			}
			continue
		}
		value = strings.TrimRight(value, "\r\n")
		if strings.ContainsFunc(value, unicode.IsControl) {
			errs = append(errs, fmt.Errorf("%s: contains a line break or another control character", s.name))
		}
		if environment[s.name] = value; value == "" {
			delete(environment, s.name)
		}
	}
	return errs
}

// fromFile sets a secret to what is in its file, if one is named.
func fromFile(environment map[string]string, name string) error {
	path, named := environment[name+fileSuffix]
	if !named {
		return nil
	}
	if _, set := environment[name]; set {
		return fmt.Errorf("%s and %s%s: set one of them", name, name, fileSuffix)
	}
	value, err := Secret("").Now(strings.TrimRight(path, "\r\n"))
	if err != nil {
		return fmt.Errorf("%s%s: %w", name, fileSuffix, err)
	}
	environment[name] = value.Reveal()
	return nil
}
