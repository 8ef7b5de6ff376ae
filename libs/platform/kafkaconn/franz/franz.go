// Package franz turns the Kafka settings into franz-go's options.
package franz

import (
	"context"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
)

// Options say where the brokers are and how to connect and log in there. They
// leave the partitioner alone: kgo's default puts a key into the partition that
// Java's producer and [kafkago.Balancer] choose.
func Options(cfg config.KafkaConn) ([]kgo.Opt, error) {
	dial, err := kafkaconn.Dialer(cfg)
	if err != nil {
		return nil, err
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(kafkaconn.Brokers(cfg)...),
		kgo.ClientID(kafkaconn.ClientID),
		kgo.Dialer(dial),
	}
	if login := mechanism(cfg); login != nil {
		options = append(options, kgo.SASL(login))
	}
	return options, nil
}

// mechanism logs in with what the settings' files hold at that time.
func mechanism(cfg config.KafkaConn) sasl.Mechanism {
	scrams := func(context.Context) (scram.Auth, error) {
		password, err := kafkaconn.Password(cfg)
		return scram.Auth{User: cfg.SASLUsername, Pass: password}, err
	}
	switch cfg.SASLMechanism {
	case kafkaconn.Plain:
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			password, err := kafkaconn.Password(cfg)
			return plain.Auth{User: cfg.SASLUsername, Pass: password}, err
		})
	case kafkaconn.ScramSHA256:
		return scram.Sha256(scrams)
	case kafkaconn.ScramSHA512:
		return scram.Sha512(scrams)
	case kafkaconn.OAuthBearer, kafkaconn.AWSMSKIAM:
		return bearer{kafkaconn.NewBearer(cfg)}
	default:
		return nil // config.KafkaConn.Validate lets nothing else through
	}
}

// bearer implements sasl.Mechanism and sasl.Session, since it has no state. franz-go's
// own says nothing of why a broker refuses a token.
type bearer struct{ kafkaconn.Bearer }

func (bearer) Name() string { return kafkaconn.OAuthBearer }

func (b bearer) Authenticate(context.Context, string) (sasl.Session, []byte, error) {
	message, err := b.Message()
	return b, message, err
}

func (b bearer) Challenge(answer []byte) (bool, []byte, error) { return true, nil, b.Check(answer) }
