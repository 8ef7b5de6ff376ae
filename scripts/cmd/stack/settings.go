package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
)

// settings are variables of the services that set ports and stores, and a few of
// the stack's own.
type settings struct {
	DataDir      string        `env:"ORDERHUB_DATA" envDefault:".orderhub" help:"folder of the embedded broker's and database's data"`
	KafkaPort    int           `env:"KAFKA_PORT" envDefault:"9092" validate:"min=1,max=65535" help:"port of the embedded broker"`
	PostgresPort int           `env:"POSTGRES_PORT" envDefault:"5432" validate:"min=1,max=65535" help:"port of the embedded PostgreSQL"`
	KafkaHost    string        `env:"KAFKA_HOST" help:"name or address of this machine by which others reach the embedded broker: it listens on all addresses and tells clients this one (default: this machine alone)"`
	PostgresHost string        `env:"POSTGRES_HOST" help:"the same of the embedded PostgreSQL"`
	KafkaBrokers string        `env:"KAFKA_BROKERS" help:"brokers to use instead of the embedded one"`
	DatabaseURL  config.Secret `env:"DATABASE_URL" help:"database to use instead of the embedded one"`
	NATS         bool          `env:"NATS" help:"1: also run the bridge and an embedded NATS server"`
	NATSPort     int           `env:"NATS_PORT" envDefault:"4222" validate:"min=1,max=65535" help:"port of the embedded NATS server"`
	NATSURL      config.Secret `env:"NATS_URL" help:"NATS server to use instead of the embedded one"`
	NATSSubject  string        `env:"NATS_SUBJECT" envDefault:"orders" help:"subject from which the bridge takes orders"`
	HTTPAddr     string        `env:"HTTP_ADDR" envDefault:"127.0.0.1:8081" help:"address of the API and the web page; the dead-letter console's has the next port"`
	HTTPAuth     string        `env:"HTTP_AUTH" help:"on or off, which the API needs if others can reach it"`
	AdminAddr    string        `env:"ADMIN_ADDR" envDefault:"127.0.0.1:9080" help:"admin address of the worker; the API's has the next port, the console's the second after it, the bridge's the third"`
	ConsoleToken config.Secret `env:"ORDERHUB_CONSOLE_TOKEN" help:"token of the dead-letter console, 16 characters or more (default: one that is printed)"`
	AuditFile    string        `env:"ORDERHUB_AUDIT_FILE" help:"audit log of the dead-letter console (default: audit.jsonl in ORDERHUB_DATA)"`
	OldAuditFile string        `env:"ORDERHUB_AUDIT_LOG" help:"old name of ORDERHUB_AUDIT_FILE"`
}

func (s *settings) Validate() error {
	who := auth.Settings{Auth: s.HTTPAuth}
	errs := []error{outward("KAFKA_HOST", &s.KafkaHost), outward("POSTGRES_HOST", &s.PostgresHost), who.Check(s.HTTPAddr, false)}
	for name, addr := range map[string]string{"HTTP_ADDR": s.HTTPAddr, "ADMIN_ADDR": s.AdminAddr} {
		if _, port, err := splitAddr(addr); err != nil || port < 1 || port > lastPort {
			errs = append(errs, fmt.Errorf("%s: %q is no host:port with a port from 1 to %d", name, addr, lastPort))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	users := map[int]endpoint{}
	for _, e := range s.endpoints() {
		_, port, _ := splitAddr(e.addr)
		if other, used := users[port]; used {
			errs = append(errs, fmt.Errorf("%s and %s: %s and %s would both use port %d", other.variable, e.variable, other.what, e.what, port))
		}
		users[port] = e
	}
	return errors.Join(errs...)
}

// outward makes a host one that this machine's programs can connect to, as clients are
// told to: "" for the loopback, one of this machine's addresses for all addresses.
func outward(name string, host *string) error {
	text := strings.Trim(*host, "[]")
	ip := net.ParseIP(text)
	switch {
	case text == "" || text == "localhost" || ip.IsLoopback():
		*host = ""
	case text == "*" || ip.IsUnspecified():
		if *host = ports.Outward(); *host == "" {
			return fmt.Errorf("%s: this machine has no address but the loopback", name)
		}
	case ip != nil:
		*host = text
	default:
		if _, err := net.DefaultResolver.LookupHost(context.Background(), text); err != nil || strings.ContainsAny(text, ":/ ") {
			return fmt.Errorf("%s: this machine's own programs cannot find %q: use an address such as %s, or a name that is in /etc/hosts", name, text, cmp.Or(ports.Outward(), "192.0.2.1"))
		}
	}
	return nil
}

func (s settings) embeddedBroker() bool   { return s.KafkaBrokers == "" }
func (s settings) embeddedDatabase() bool { return s.DatabaseURL == "" }
func (s settings) embeddedNATS() bool     { return s.NATS && s.NATSURL == "" }

// The services read the same variables, and must not share a port: these addresses are
// after the worker's and the API's. The defaults of the programs have the same order.
func (s settings) apiAdminAddr() string     { return portAfter(s.AdminAddr, 1) }
func (s settings) consoleAdminAddr() string { return portAfter(s.AdminAddr, 2) }
func (s settings) bridgeAdminAddr() string  { return portAfter(s.AdminAddr, 3) }
func (s settings) consoleAddr() string      { return portAfter(s.HTTPAddr, 1) }

// natsURL is where the bridge takes orders from.
func (s settings) natsURL() config.Secret {
	if s.embeddedNATS() {
		return config.Secret("nats://" + ports.Loopback(s.NATSPort))
	}
	return s.NATSURL
}

// endpoint is an address that something of the stack is going to listen on.
type endpoint struct {
	addr     string
	what     string
	variable string // moves it
	used     bool
}

// example is a value of the endpoint's variable that would move it elsewhere.
func (e endpoint) example() string {
	host, port, _ := splitAddr(e.addr)
	if port < 50000 {
		port += 10000
	} else {
		port -= 10000
	}
	if strings.HasSuffix(e.variable, "_PORT") {
		return strconv.Itoa(port)
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

func (s settings) endpoints() []endpoint {
	return slices.DeleteFunc([]endpoint{
		{ports.Listen(s.KafkaHost, s.KafkaPort), "the embedded broker", "KAFKA_PORT", s.embeddedBroker()},
		{ports.Listen(s.PostgresHost, s.PostgresPort), "the embedded PostgreSQL", "POSTGRES_PORT", s.embeddedDatabase()},
		{ports.Loopback(s.NATSPort), "the embedded NATS server", "NATS_PORT", s.embeddedNATS()},
		{s.bridgeAdminAddr(), "the bridge's admin port", "ADMIN_ADDR", s.NATS},
		{s.HTTPAddr, "the API", "HTTP_ADDR", true},
		{s.consoleAddr(), "the dead-letter console", "HTTP_ADDR", true},
		{s.AdminAddr, "the worker's admin port", "ADMIN_ADDR", true},
		{s.apiAdminAddr(), "the API's admin port", "ADMIN_ADDR", true},
		{s.consoleAdminAddr(), "the console's admin port", "ADMIN_ADDR", true},
	}, func(e endpoint) bool { return !e.used })
}

func splitAddr(addr string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	return host, port, err
}

// lastPort is the last that has as many after it as portAfter is asked for.
const lastPort = 65535 - 3

func portAfter(addr string, n int) string {
	host, port, _ := splitAddr(addr) // Validate has seen it
	return net.JoinHostPort(host, strconv.Itoa(port+n))
}

// exposed are warnings of what other machines reach, and without what.
func (s settings) exposed() (warnings []string) {
	if s.embeddedBroker() && s.KafkaHost != "" {
		warnings = append(warnings, fmt.Sprintf("whoever reaches %s can read and write the topics: the broker knows no login", net.JoinHostPort(s.KafkaHost, strconv.Itoa(s.KafkaPort))))
	}
	if s.embeddedDatabase() && s.PostgresHost != "" {
		warnings = append(warnings, fmt.Sprintf("whoever reaches %s can change the database: its password is no secret", net.JoinHostPort(s.PostgresHost, strconv.Itoa(s.PostgresPort))))
	}
	if host, _, _ := net.SplitHostPort(s.HTTPAddr); host != "localhost" && !net.ParseIP(host).IsLoopback() {
		warnings = append(warnings, fmt.Sprintf("whoever reaches %s sees the orders, with personal data, without a login", s.HTTPAddr))
	}
	return warnings
}

const loopback = "127.0.0.1"

// local is addr as a client on this machine dials it.
func local(addr string) string { return dialled(addr, loopback) }

// dialled is addr with a host in the place of all addresses.
func dialled(addr, all string) string {
	host, port, _ := net.SplitHostPort(addr)
	if host == "" || net.ParseIP(host).IsUnspecified() {
		host = all
	}
	return net.JoinHostPort(host, port)
}
