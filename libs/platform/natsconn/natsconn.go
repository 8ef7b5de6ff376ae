// Package natsconn turns the NATS settings into a connection that never gives up.
package natsconn

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// Settings say where the NATS server is, and how to log in there.
type Settings struct {
	URL config.Secret `env:"NATS_URL" envDefault:"nats://localhost:4222" help:"one or more NATS servers, comma-separated"`
	Login
}

// Streaming says who one is in NATS Streaming.
type Streaming struct {
	ClusterID string `env:"STAN_CLUSTER_ID" envDefault:"test-cluster" help:"cluster of NATS Streaming"`
	ClientID  string `env:"STAN_CLIENT_ID" help:"this program's name in NATS Streaming"`
}

// Login says how to log in to a NATS server.
type Login struct {
	CredsFile string        `env:"NATS_CREDS_FILE" help:"file with a user's JWT and key, as nsc writes it"`
	NKeyFile  string        `env:"NATS_NKEY_FILE" help:"file with a user's NKey seed"`
	User      string        `env:"NATS_USER" help:"user to log in as"`
	Password  config.Secret `env:"NATS_PASSWORD" help:"the user's password"`
	Token     config.Secret `env:"NATS_TOKEN" help:"token to log in with"`

	PasswordFile string `env:"NATS_PASSWORD_FILE"`
	TokenFile    string `env:"NATS_TOKEN_FILE"`

	TLSCAFile   string `env:"NATS_TLS_CA_FILE" help:"PEM file with the authority to trust (default: the system's)"`
	TLSCertFile string `env:"NATS_TLS_CERT_FILE" help:"PEM file with the client's certificate"`
	TLSKeyFile  string `env:"NATS_TLS_KEY_FILE" help:"PEM file with the client's key"`
}

// Validate names the variables whose values cannot be used.
func (s Login) Validate() error {
	errs := []error{
		config.Pair("NATS_TLS_CERT_FILE", s.TLSCertFile, "NATS_TLS_KEY_FILE", s.TLSKeyFile),
		config.Pair("NATS_USER", s.User, "NATS_PASSWORD", s.Password),
	}
	logins := 0
	for _, set := range []bool{s.CredsFile != "", s.NKeyFile != "", s.User != "", s.Token != ""} {
		if set {
			logins++
		}
	}
	if logins > 1 {
		errs = append(errs, errors.New("NATS_CREDS_FILE, NATS_NKEY_FILE, NATS_USER, NATS_TOKEN: set one of them"))
	}
	return errors.Join(errs...)
}

// Connect returns a connection that is made in the background and made again
// whenever it is lost, without end. Each time it reads the files of credentials,
// passwords and certificates anew; only the NKey's and the servers' addresses stay. Files
// that cannot be used are an error at once. Further options come after ours, and win.
func Connect(s Settings, name string, further ...nats.Option) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name(name),
		nats.Timeout(5 * time.Second),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.PingInterval(10 * time.Second), // a dead server is noticed after two
		nats.IgnoreAuthErrorAbort(),         // a password may be rotated on the server first
	}
	named := func(variable, value string, option func() (nats.Option, error)) {
		if value == "" {
			return
		}
		options = append(options, func(o *nats.Options) error {
			apply, err := option()
			if err == nil {
				err = apply(o)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", variable, err)
			}
			return nil
		})
	}
	named("NATS_CREDS_FILE", s.CredsFile, func() (nats.Option, error) {
		_, err := os.Stat(s.CredsFile) // nats.go reads it when it logs in
		return nats.UserCredentials(s.CredsFile), err
	})
	named("NATS_NKEY_FILE", s.NKeyFile, func() (nats.Option, error) { return nats.NkeyOptionFromSeed(s.NKeyFile) })
	named("NATS_USER", s.User, func() (nats.Option, error) {
		return nats.UserInfoHandler(func() (string, string) { return s.User, present(s.Password, s.PasswordFile) }), nil
	})
	named("NATS_TOKEN", s.Token.Reveal(), func() (nats.Option, error) {
		return nats.TokenHandler(func() string { return present(s.Token, s.TokenFile) }), nil
	})
	named("NATS_TLS_CA_FILE", s.TLSCAFile, func() (nats.Option, error) { return nats.RootCAs(s.TLSCAFile), nil })
	named("NATS_TLS_CERT_FILE", s.TLSCertFile, func() (nats.Option, error) { return nats.ClientCert(s.TLSCertFile, s.TLSKeyFile), nil })
	return nats.Connect(s.URL.Reveal(), append(options, further...)...)
}

// Connected is nil while conn is connected, or says why it is not.
func Connected(conn *nats.Conn) error {
	if conn.IsConnected() {
		return nil
	}
	return Disconnected(conn)
}

// Disconnected says why conn is not connected, or was not a moment ago.
func Disconnected(conn *nats.Conn) error {
	if err := conn.LastError(); err != nil {
		return fmt.Errorf("not connected: %w", err)
	}
	return errors.New("not connected")
}

// present is what is in a secret's file now. Where that cannot be used, what was in it at
// the start is tried: nats.go asks for no error.
func present(secret config.Secret, file string) string {
	if now, err := secret.Now(file); err == nil {
		secret = now
	}
	return secret.Reveal()
}
