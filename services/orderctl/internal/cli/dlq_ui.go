package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/httpserver"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/orderctl/internal/console"
)

// uiSettings are those of dlq ui. The database has no default: it is asked where
// it is named.
type uiSettings struct {
	Kafka    config.Kafka
	Database optionalDatabase
	Rules    rules.Settings
	Console  consoleSettings
	Audit    audit.Settings
	Web      web.Settings
}

// consoleSettings are the console's own.
type consoleSettings struct {
	Addr    string        `env:"HTTP_ADDR" envDefault:"127.0.0.1:8082" help:"address to listen on; beyond the loopback ORDERHUB_CONSOLE_TOKEN must be set"`
	Token   config.Secret `env:"ORDERHUB_CONSOLE_TOKEN" help:"what signs people in, 16 characters or more (default: one that is printed at the start)"`
	Hosts   []string      `env:"ORDERHUB_CONSOLE_HOSTS" help:"further names by which browsers may call the console, comma-separated, such as dlq.example.com"`
	TLSCert string        `env:"ORDERHUB_CONSOLE_TLS_CERT" help:"file with the certificate, to serve HTTPS"`
	TLSKey  string        `env:"ORDERHUB_CONSOLE_TLS_KEY" help:"file with the certificate's key"`
}

// Validate is called by config.Load.
func (s consoleSettings) Validate() error {
	var errs []error
	if err := config.ListenAddr("HTTP_ADDR", s.Addr); err != nil {
		errs = append(errs, err)
	} else if s.Token == "" && !console.IsLoopback(s.Addr) {
		errs = append(errs, fmt.Errorf("HTTP_ADDR: %s can be reached from other machines: set ORDERHUB_CONSOLE_TOKEN, or listen on the loopback, as 127.0.0.1:8082", s.Addr))
	}
	if n := len(s.Token); n > 0 && n < console.MinTokenLength {
		errs = append(errs, fmt.Errorf("ORDERHUB_CONSOLE_TOKEN: %d characters or more, not %d", console.MinTokenLength, n))
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		errs = append(errs, errors.New("ORDERHUB_CONSOLE_TLS_CERT, ORDERHUB_CONSOLE_TLS_KEY: set both, or none"))
	}
	return errors.Join(errs...)
}

func (a *app) dlqUICommand() *cobra.Command {
	var s uiSettings
	var where kafkaFlags
	var rules ruleFlags
	var healthcheck bool
	cmd := a.command(&cobra.Command{
		Use:   "ui",
		Short: "Serve the web console for dead letters",
		Long: `Serve the web console for dead letters until Ctrl-C: letters by cause, lists,
single letters, and what can be done with them.

Looking needs nothing on this machine. Changing letters, and seeing people's data,
needs the token that is printed at the start. An address beyond the loopback needs
ORDERHUB_CONSOLE_TOKEN, and asks for it before it shows anything, as does a console
behind proxies (BASE_PATH, TRUSTED_PROXIES); it should have a certificate too.

If DATABASE_URL is set, letters are compared with the stored orders.`,
		Example: `  orderctl dlq ui
  HTTP_ADDR=127.0.0.1:9000 orderctl dlq ui
  ORDERHUB_CONSOLE_TOKEN=… HTTP_ADDR=:8082 ORDERHUB_CONSOLE_HOSTS=dlq.example.com orderctl dlq ui`,
		Args: noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if healthcheck {
				return askHealth(cmd.Context(), s.Console)
			}
			return a.serveUI(cmd.Context(), &s, &where, rules.codec(s.Rules))
		},
	}, &s)
	where.registerLetters(cmd)
	rules.register(cmd)
	cmd.Flags().BoolVar(&healthcheck, "healthcheck", false, "only ask the console that listens on HTTP_ADDR whether it is well")
	return cmd
}

const (
	// uiStop bounds how long open requests are waited for at the end.
	uiStop = 3 * time.Second
	uiRead = 30 * time.Second
)

func (a *app) serveUI(ctx context.Context, settings *uiSettings, where *kafkaFlags, codec *model.Codec) error {
	s, cfg := settings.Console, &settings.Kafka
	client, err := where.client(cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	orders, closing, err := settings.Database.orders()
	if err != nil {
		return err
	}
	defer closing()
	log := a.logger(zapcore.InfoLevel)
	records, err := a.openAudit(&changeSettings{Kafka: *cfg, Audit: settings.Audit}, log)
	if err != nil {
		return local(err)
	}
	defer func() {
		if err := records.Close(); err != nil {
			log.Error("the audit log was not closed", zap.Error(err))
		}
	}()
	certificate, err := s.certificate()
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Addr)
	if err != nil {
		return fmt.Errorf("HTTP_ADDR: %w: free the port, or choose another", err)
	}
	token, chosen := s.Token.Reveal(), s.Token != ""
	if !chosen {
		token = console.NewToken()
	}
	c, err := console.New(console.Options{
		Store:       dlq.New(client, dlq.Options{Topic: cfg.DLQTopic, Orders: cfg.Topic, Foreign: where.foreign}),
		OrdersTopic: cfg.Topic, Codec: codec, Orders: orders,
		Listen: listenedOn(s.Addr, listener), Web: settings.Web, Hosts: s.Hosts, TLS: certificate != nil, Token: token, Actor: currentUser(), Audit: records, AuditSettings: settings.Audit,
		Explain: func(err error) error {
			if err == nil {
				return nil
			}
			return errors.New(text(explainKafka(cfg, err)))
		},
		Log: log,
	})
	if err != nil {
		_ = listener.Close() // nobody was served
		return usage(err)
	}
	defer c.Stop()
	died := make(chan error, 1)
	server := httpserver.New(httpserver.Options{
		Name: "console", Listener: listener, Handler: c.Handler(), TLS: certificate, ReadTimeout: uiRead,
		StopTimeout: uiStop, Died: func(err error) { died <- err },
	})
	scheme := "http"
	if certificate != nil {
		scheme = "https"
	}
	a.say("console for %s: %s://%s%s", cfg.DLQTopic, scheme, browsed(c.Listen()), settings.Web.BasePath)
	if !chosen {
		a.say("token, to change letters: %s", token)
	}
	if scheme == "http" && !console.IsLoopback(s.Addr) {
		a.say("the token crosses the network unencrypted: set ORDERHUB_CONSOLE_TLS_CERT and ORDERHUB_CONSOLE_TLS_KEY, or serve it behind something that encrypts")
	}
	if err := errors.Join(c.Start(ctx), server.Start(ctx)); err != nil {
		return err
	}
	defer server.Stop()
	select {
	case err := <-died:
		return err
	case <-ctx.Done(): // which is no failure
		a.say("stopping")
		return nil
	}
}

func (s consoleSettings) certificate() (*tls.Config, error) {
	if s.TLSCert == "" {
		return nil, nil //nolint:nilnil // none is wanted
	}
	pair, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey)
	if err != nil {
		return nil, usage(fmt.Errorf("ORDERHUB_CONSOLE_TLS_CERT, ORDERHUB_CONSOLE_TLS_KEY: %w", err))
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// listenedOn is the address as it was given, with the port that was taken where
// any would do.
func listenedOn(given string, listener net.Listener) string {
	host, _, _ := net.SplitHostPort(given)
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return net.JoinHostPort(host, port)
}

// browsed is an address as a browser on this machine calls it.
func browsed(listen string) string {
	host, port, _ := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// askHealth is what a container's health check runs.
func askHealth(ctx context.Context, s consoleSettings) error {
	ctx, cancel := context.WithTimeout(ctx, uiStop)
	defer cancel()
	scheme, client := "http", &http.Client{}
	if s.TLSCert != "" {
		// It asks itself, by an address that the certificate doesn't name.
		scheme, client.Transport = "https", &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // see above
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+browsed(s.Addr)+"/healthz", nil)
	if err != nil {
		return usage(err)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(response.Body, 1000)) // it is for people
		return fmt.Errorf("the console is not well: %s", strings.TrimSpace(string(said)))
	}
	return nil
}
