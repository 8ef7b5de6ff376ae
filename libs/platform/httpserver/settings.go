package httpserver

import "github.com/orderhub/orderhub/libs/platform/config"

// Settings of a web program's port.
type Settings struct {
	CertFile       string `env:"HTTP_TLS_CERT_FILE" help:"PEM file with the certificate and its chain, to serve HTTPS; read again when it changes"`
	KeyFile        string `env:"HTTP_TLS_KEY_FILE" help:"PEM file with the certificate's key"`
	MaxConnections int    `env:"HTTP_MAX_CONNECTIONS" envDefault:"20000" validate:"min=10,max=1_000_000" help:"most connections at a time; others wait until one ends"`
	AccessLog      int    `env:"HTTP_ACCESS_LOG" envDefault:"0" validate:"min=0,max=100_000" help:"most requests a second that are logged (0: none)"`
}

// Validate names the variables whose values cannot be used.
func (s *Settings) Validate() error {
	return config.Pair("HTTP_TLS_CERT_FILE", s.CertFile, "HTTP_TLS_KEY_FILE", s.KeyFile)
}

// Scheme is https where there is a certificate, otherwise http.
func (s *Settings) Scheme() string {
	if s.CertFile != "" {
		return "https"
	}
	return "http"
}
