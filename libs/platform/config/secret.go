package config

import (
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
)

// maxSecretFile is in bytes.
const maxSecretFile = 64 << 10

// Secret is a setting that must not be shown. Of a URL only the password is hidden,
// of anything else the whole value.
type Secret string

// Reveal returns the value itself.
func (s Secret) Reveal() string { return string(s) }

// Now returns what is in the file at path now, so that a secret can be rotated while the
// program runs; without a path it returns s. Line breaks at the end are removed, as Load
// does. The error names the file and quotes nothing of it.
func (s Secret) Now(path string) (Secret, error) {
	if path == "" {
		return s, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // it was only read
	content, err := io.ReadAll(io.LimitReader(file, maxSecretFile+1))
	value := strings.TrimRight(strings.TrimPrefix(string(content), byteOrderMark), "\r\n")
	switch {
	case err != nil:
		return "", err
	case len(content) > maxSecretFile:
		return "", fmt.Errorf("%s has more than %d bytes: it is no secret's file", path, maxSecretFile)
	case value == "":
		return "", fmt.Errorf("%s is empty", path)
	}
	return Secret(value), nil
}

// String returns the value without what is secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(string(s))
	if err != nil || u.Host == "" {
		return "***"
	}
	query := u.Query()
	for _, name := range []string{"password", "sslpassword"} {
		if query.Has(name) {
			query.Set(name, "***")
			u.RawQuery = query.Encode()
		}
	}
	return u.Redacted()
}

// GoString is String, for %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText is String, for encoders such as a logger's.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the value unchanged.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}
