package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/stan.go"

	"github.com/orderhub/orderhub/libs/platform/errs"
	"github.com/orderhub/orderhub/libs/platform/natsconn"
	"github.com/orderhub/orderhub/services/orderctl/internal/publish"
)

type target struct {
	product string // Kafka or NATS
	name    string // the topic, or the subject's address
	subject string // of NATS
	open    func(context.Context) (publish.Broker, error)
	explain func(error) error // says what is wrong there, and what to do
}

func newTarget(f *publishFlags) (target, error) {
	if f.to == "" {
		return kafkaTarget(f)
	}
	if len(f.kafka.brokers) > 0 || f.kafka.topic != "" {
		return target{}, usagef("--to publishes to NATS: --brokers and --topic do not go with it")
	}
	return natsTarget(f)
}

func kafkaTarget(f *publishFlags) (target, error) {
	options, err := f.kafka.options(&f.Kafka)
	return target{
		product: "Kafka", name: f.Kafka.Topic,
		open: func(ctx context.Context) (publish.Broker, error) {
			return publish.Kafka(ctx, options, f.Kafka.Topic, giveUpAfter)
		},
		explain: func(err error) error { return explainKafka(&f.Kafka, err) },
	}, err
}

func natsTarget(f *publishFlags) (target, error) {
	address, err := url.Parse(f.to)
	if err != nil { // which may quote a password
		return target{}, usagef("--to: no address: use nats://host:4222/SUBJECT, or stan:// for NATS Streaming")
	}
	shown, streaming, subject := address.Redacted(), address.Scheme == "stan", strings.TrimPrefix(address.Path, "/")
	switch {
	case !streaming && address.Scheme != "nats" && address.Scheme != "tls", address.Hostname() == "":
		return target{}, usagef("--to: %q: use nats://host:4222/SUBJECT, or stan:// for NATS Streaming", shown)
	case subject == "" || strings.ContainsAny(subject, " \t\r\n*>") || strings.HasPrefix("."+subject+".", "..") || strings.Contains(subject+".", ".."):
		return target{}, usagef("--to: %q: %q is no subject to publish to: add one, such as /orders", shown, subject)
	}
	if streaming {
		address.Scheme = "nats"
	}
	address.Path = ""
	n := publish.NATS{URL: address.String(), Login: f.Login, Subject: subject, GiveUpAfter: giveUpAfter}
	return target{
		product: "NATS", name: shown, subject: subject,
		open: func(context.Context) (publish.Broker, error) {
			if streaming {
				return publish.Streaming(n, f.Streaming)
			}
			return publish.JetStream(n)
		},
		explain: func(err error) error { return explainNATS(address.Host, subject, f.Streaming, err) },
	}, nil
}

// explainNATS says what is wrong with the server, and what to do.
func explainNATS(host, subject string, who natsconn.Streaming, err error) error {
	if _, coded := errors.AsType[*errs.Error](err); err == nil || coded {
		return err
	}
	explain := func(format string, args ...any) error { return errs.Wrap(errs.Unavailable, err, format, args...) }
	var network *net.OpError
	var answer *jetstream.APIError
	switch {
	case errors.As(err, new(*fs.PathError)):
		return usage(err) // a file of the login
	case errors.Is(err, nats.ErrNoServers), errors.As(err, &network), errors.As(err, new(*net.DNSError)):
		return explain("cannot reach NATS at %s: %v: start it, or correct --to", host, err)
	case errors.Is(err, nats.ErrAuthorization):
		return explain("NATS at %s refuses the login: set NATS_USER and NATS_PASSWORD, NATS_TOKEN, NATS_NKEY_FILE or NATS_CREDS_FILE", host)
	case errors.As(err, new(*x509.UnknownAuthorityError)), errors.As(err, new(x509.UnknownAuthorityError)):
		return explain("the certificate of NATS at %s is of an unknown authority: set NATS_TLS_CA_FILE", host)
	case errors.Is(err, nats.ErrPermissionViolation):
		return explain("NATS at %s: the user lacks the right: %v", host, err)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return explain("no stream of NATS at %s takes the subject %s: start the bridge with NATS_SUBJECT=%s, which creates one, or correct --to", host, subject, subject)
	case errors.Is(err, stan.ErrConnectReqTimeout):
		return explain("no NATS Streaming cluster %q answers at %s: set STAN_CLUSTER_ID, or use nats:// for JetStream", who.ClusterID, host)
	case strings.Contains(err.Error(), "clientID already registered"): // its type is lost on the way
		return explain("another program is the client %q of NATS Streaming: set STAN_CLIENT_ID to another name", who.ClientID)
	case errors.As(err, &answer):
		return explain("the stream that takes %s refuses: %s", subject, answer.Description)
	default:
		return explain("NATS at %s: %v", host, err)
	}
}
