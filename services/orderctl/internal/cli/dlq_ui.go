package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	chance "math/rand/v2"
	"net"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/admin"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/health"
	"github.com/orderhub/orderhub/libs/platform/httpserver"
	"github.com/orderhub/orderhub/libs/platform/lifecycle"
	"github.com/orderhub/orderhub/libs/platform/logging"
	"github.com/orderhub/orderhub/libs/platform/retry"
	"github.com/orderhub/orderhub/libs/platform/service"
	"github.com/orderhub/orderhub/libs/platform/tracing"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/orderctl/internal/accept"
	"github.com/orderhub/orderhub/services/orderctl/internal/console"
	"github.com/orderhub/orderhub/services/orderctl/internal/dryrun"
	"github.com/orderhub/orderhub/services/orderctl/internal/mask"
	"github.com/orderhub/orderhub/services/orderctl/internal/webhook"
)

// uiSettings are those of dlq ui. The database has no default: it is asked where
// it is named.
type uiSettings struct {
	config.Service `ADMIN_ADDR:"127.0.0.1:9082"`

	Kafka    config.Kafka
	Database optionalDatabase
	Rules    rules.Settings
	Console  consoleSettings
	Audit    audit.Settings
	Erasures erasure.Settings
	Auth     auth.Settings
	Web      web.Settings
	Server   httpserver.Settings
	Webhook  webhook.Settings
	Link     linkSettings
}

func (s *uiSettings) Validate() error {
	if config.ListenAddr("HTTP_ADDR", s.Console.Addr) != nil {
		return nil //nolint:nilerr // it was said before
	}
	if err := s.Auth.Check(s.Console.Addr, s.Web.Behind()); err != nil {
		return err
	}
	if s.Auth.Auth != "on" && s.Console.Token == "" && (s.Web.Behind() || !config.IsLoopback(s.Console.Addr)) {
		return fmt.Errorf("ORDERHUB_CONSOLE_TOKEN: with HTTP_AUTH=off others can reach %s, so set the token that signs people in", s.Console.Addr)
	}
	if s.Console.TLSCert != "" && s.Server.CertFile != "" {
		return errors.New("HTTP_TLS_CERT_FILE and ORDERHUB_CONSOLE_TLS_CERT, its old name: set one of them")
	}
	s.Server.CertFile, s.Server.KeyFile = cmp.Or(s.Server.CertFile, s.Console.TLSCert), cmp.Or(s.Server.KeyFile, s.Console.TLSKey)
	return nil
}

type consoleSettings struct {
	Addr    string        `env:"HTTP_ADDR" envDefault:"127.0.0.1:8082" help:"address to listen on; beyond the loopback HTTP_AUTH must be set"`
	Token   config.Secret `env:"ORDERHUB_CONSOLE_TOKEN" validate:"omitempty,bytes=16" help:"what signs people in with HTTP_AUTH=off, 16 characters or more (default: one that is printed at the start)"`
	Hosts   []string      `env:"ORDERHUB_CONSOLE_HOSTS" help:"names as of HTTP_HOSTS, for the console alone"`
	TLSCert string        `env:"ORDERHUB_CONSOLE_TLS_CERT" help:"old name of HTTP_TLS_CERT_FILE"`
	TLSKey  string        `env:"ORDERHUB_CONSOLE_TLS_KEY" help:"old name of HTTP_TLS_KEY_FILE"`

	LettersRetention time.Duration `env:"LETTERS_RETENTION" envDefault:"0" validate:"omitempty,min=1s,max=876000h" help:"how long after their resolution letters are purged, such as 720h (0: never)"`
}

func (s consoleSettings) Validate() error {
	return errors.Join(config.ListenAddr("HTTP_ADDR", s.Addr),
		config.Pair("ORDERHUB_CONSOLE_TLS_CERT", s.TLSCert, "ORDERHUB_CONSOLE_TLS_KEY", s.TLSKey))
}

func (a *app) dlqUICommand() *cobra.Command {
	var s uiSettings
	var where kafkaFlags
	var healthcheck bool
	cmd := a.command("dlq ui", &s, nil, func(cmd *cobra.Command, _ []string) error {
		if healthcheck {
			return admin.Probe(cmd.Context(), s.AdminAddr)
		}
		return a.serveUI(cmd.Context(), &s, &where)
	})
	where.registerLetters(cmd)
	cmd.Flags().BoolVar(&healthcheck, "healthcheck", false, "only ask the console whose admin port is ADMIN_ADDR whether it is ready")
	return cmd
}

const (
	// consoleName is the service in metrics and in the log.
	consoleName = "dlq-console"
	uiRead      = 30 * time.Second
)

func (a *app) serveUI(ctx context.Context, settings *uiSettings, where *kafkaFlags) error {
	s, cfg := settings.Console, &settings.Kafka
	client, clientErr := a.client(where, cfg)
	db, err := a.openIfNamed(settings.Database)
	if err := cmp.Or(clientErr, err); err != nil {
		return err
	}
	log, level, err := logging.New(settings.Log, consoleName)
	if err != nil {
		return usage(err)
	}
	flush, err := tracing.Start(&settings.Traces, tracing.Options{Service: consoleName, Log: log})
	if err != nil {
		return usage(err)
	}
	defer flush()
	records, err := openAudit(&changeSettings{Kafka: *cfg, Audit: settings.Audit}, log)
	if err != nil {
		return local(err)
	}
	defer func() {
		if err := records.Close(); err != nil {
			log.Error("the audit log was not closed", zap.Error(err))
		}
	}()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Addr)
	if err != nil {
		return fmt.Errorf("HTTP_ADDR: %w: free the port, or choose another", err)
	}
	token, chosen := s.Token.Reveal(), s.Token != "" || settings.Auth.Auth == "on"
	if !chosen {
		token = rand.Text()
	}
	metrics, checks := service.NewMetrics(consoleName), health.NewRegistry()
	settings.Auth.Hosts = append(settings.Auth.Hosts, s.Hosts...)
	queue := dlq.New(client, dlq.Options{Topic: cfg.DLQTopic, Orders: cfg.Topic, Foreign: where.foreign, Erasures: settings.Erasures.NewKey()})
	var orders dryrun.Orders
	var acceptor *accept.Acceptor
	if db != nil {
		orders, acceptor = db.stored, db.acceptor(queue, &settings.Rules, settings.Erasures.NewKey())
	}
	c, err := console.New(console.Options{
		Store: queue, OrdersTopic: cfg.Topic, TraceURL: settings.Link.URL, Codec: model.New(settings.Rules.Options()), Versions: settings.Rules.Versions(), Orders: orders, Accept: acceptor,
		Listen: listenedOn(s.Addr, listener), Web: settings.Web, Auth: settings.Auth, Token: token, Actor: currentUser(), Audit: records, AuditSettings: settings.Audit,
		Explain: func(err error) error {
			if err == nil {
				return nil
			}
			return errors.New(text(explainKafka(cfg, err)))
		},
		Metrics: metrics, Health: checks, Log: log, AccessLog: settings.Server.AccessLog,
	})
	if err != nil {
		_ = listener.Close() // nobody was served
		return usage(err)
	}
	died := make(chan error, 1)
	server := httpserver.New(httpserver.Options{
		Name: "console", Listener: listener, Handler: c.Handler(), Settings: settings.Server, MaxBody: c.MaxBody(), ReadTimeout: uiRead,
		Metrics: metrics, StopTimeout: settings.StopTimeout, Log: log, Died: func(err error) { died <- err },
	})
	parts := []lifecycle.Part{admin.New(&settings.Service, checks, metrics, log, level), c, server}
	if settings.Webhook.URL != "" {
		parts = append(parts, webhook.New(webhook.Options{Settings: settings.Webhook, Topic: cfg.DLQTopic, Queue: queue, Letters: c, Metrics: metrics, Log: log}))
	}
	if s.LettersRetention > 0 {
		if len(where.foreign) > 0 {
			return usagef("LETTERS_RETENTION: letters of topics that others write (--foreign) cannot be purged")
		}
		parts = append(parts, retention(queue, s.LettersRetention, cfg.Topic, records, log))
	}
	for _, part := range parts {
		defer part.Stop()
		if err := part.Start(ctx); err != nil {
			return err
		}
	}
	scheme := settings.Server.Scheme()
	a.say("console for %s: %s://%s%s", cfg.DLQTopic, scheme, browsed(c.Listen()), settings.Web.BasePath)
	if !chosen {
		a.say("token, to change letters: %s", token)
	}
	if scheme == "http" && !config.IsLoopback(s.Addr) {
		a.say("credentials cross the network unencrypted: set HTTP_TLS_CERT_FILE and HTTP_TLS_KEY_FILE, or serve it behind something that encrypts")
	}
	select {
	case err := <-died:
		return err
	case <-ctx.Done(): // which is no failure
		a.say("stopping")
		return nil
	}
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

// retentionInterval is about how often the console purges letters. With a shorter
// retention it is the retention.
const retentionInterval = time.Hour

// retention purges letters that were resolved longer ago than age, in the background.
// Several consoles may do so: one is enough, and a purge excludes others.
func retention(queue *dlq.Queue, age time.Duration, source string, records *audit.Log, log *zap.Logger) *lifecycle.Loop {
	return lifecycle.NewLoop("retention", func(ctx context.Context) error {
		for {
			interval := min(retentionInterval, age)
			if err := retry.Sleep(ctx, interval/2+chance.N(interval)); err != nil {
				return err
			}
			if err := purgeOld(ctx, queue, dlq.PurgeOptions{Before: time.Now().Add(-age), Source: source}, records); err != nil && ctx.Err() == nil {
				log.Warn("old letters not purged, retrying later", zap.Error(err))
			}
		}
	}, nil)
}

func purgeOld(ctx context.Context, queue *dlq.Queue, o dlq.PurgeOptions, records *audit.Log) error {
	ids, err := queue.Purgeable(ctx, o)
	if err != nil || len(ids) == 0 {
		return err
	}
	for i, id := range ids {
		ids[i] = mask.ID(id)
	}
	err = records.Write(ctx, audit.Event{Action: "purge", Targets: ids, Why: "LETTERS_RETENTION", Allowed: true, Actor: consoleName, ActorKind: "program"})
	if err == nil {
		err = queue.Purge(ctx, o, func(string) {})
	}
	if errors.Is(err, dlq.ErrInterfered) { // by another console, say
		return nil
	}
	return err
}
