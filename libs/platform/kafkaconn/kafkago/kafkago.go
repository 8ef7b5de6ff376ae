// Package kafkago turns the Kafka settings into kafka-go's connections, and creates
// and checks topics over them.
package kafkago

import (
	"context"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
)

// Balancer chooses the partition of a key as Java's producer does, and as franz-go
// does by default: by murmur2. A nil key goes anywhere.
var Balancer kafka.Balancer = kafka.Murmur2Balancer{}

// Dialer opens connections of their own, as a consumer group and a fetcher need.
// Safe for concurrent use.
func Dialer(cfg config.KafkaConn) (*kafka.Dialer, error) {
	dial, err := kafkaconn.Dialer(cfg)
	if err != nil {
		return nil, err
	}
	login, err := mechanism(cfg)
	return &kafka.Dialer{
		ClientID:      kafkaconn.ClientID,
		Timeout:       kafkaconn.DialTimeout,
		DialFunc:      dial,
		SASLMechanism: login,
	}, err
}

// Transport pools connections for requests through a kafka.Client or kafka.Writer.
// Call CloseIdleConnections when done. Safe for concurrent use.
func Transport(cfg config.KafkaConn) (*kafka.Transport, error) {
	dial, err := kafkaconn.Dialer(cfg)
	if err != nil {
		return nil, err
	}
	login, err := mechanism(cfg)
	return &kafka.Transport{
		ClientID:    kafkaconn.ClientID,
		DialTimeout: kafkaconn.DialTimeout,
		IdleTimeout: time.Minute,
		MetadataTTL: 5 * time.Second,
		Dial:        dial,
		SASL:        login,
	}, err
}

// Client sends single requests to the brokers. Safe for concurrent use.
func Client(cfg config.KafkaConn, transport kafka.RoundTripper) *kafka.Client {
	return &kafka.Client{Addr: kafka.TCP(kafkaconn.Brokers(cfg)...), Transport: transport}
}

func mechanism(cfg config.KafkaConn) (sasl.Mechanism, error) {
	switch cfg.SASLMechanism {
	case "":
		return nil, nil
	case kafkaconn.OAuthBearer, kafkaconn.AWSMSKIAM:
		return bearer{kafkaconn.NewBearer(cfg)}, nil
	default:
		login := password{cfg}
		_, err := login.present() // such as a password that SCRAM cannot send
		return login, err
	}
}

// password logs in by PLAIN or SCRAM, with the password of that time.
type password struct{ cfg config.KafkaConn }

func (p password) Name() string { return p.cfg.SASLMechanism }

func (p password) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	mechanism, err := p.present()
	if err != nil {
		return nil, nil, err
	}
	return mechanism.Start(ctx)
}

func (p password) present() (sasl.Mechanism, error) {
	secret, err := kafkaconn.Password(p.cfg)
	if err != nil {
		return nil, err
	}
	switch p.cfg.SASLMechanism {
	case kafkaconn.ScramSHA256:
		return scram.Mechanism(scram.SHA256, p.cfg.SASLUsername, secret)
	case kafkaconn.ScramSHA512:
		return scram.Mechanism(scram.SHA512, p.cfg.SASLUsername, secret)
	default: // config.KafkaConn.Validate lets nothing else through
		return plain.Mechanism{Username: p.cfg.SASLUsername, Password: secret}, nil
	}
}

// bearer implements sasl.Mechanism and sasl.StateMachine, since it has no state.
type bearer struct{ kafkaconn.Bearer }

func (bearer) Name() string { return kafkaconn.OAuthBearer }

func (b bearer) Start(context.Context) (sasl.StateMachine, []byte, error) {
	message, err := b.Message()
	return b, message, err
}

func (b bearer) Next(_ context.Context, answer []byte) (bool, []byte, error) {
	return true, nil, b.Check(answer)
}
