package config

import "net/url"

// Secret is a setting that must not be shown. A URL keeps all but its password;
// anything else is hidden whole.
type Secret string

// Reveal returns the value for the one place that needs it.
func (s Secret) Reveal() string { return string(s) }

// String hides what is secret.
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

// GoString hides what is secret from %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText hides what is secret from encoders, such as a logger's.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the value as it stands.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}
