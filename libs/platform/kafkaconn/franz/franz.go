// Package franz turns the Kafka settings into franz-go's options.
package franz

import (
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn"
)

// Options say where the brokers are and how to connect and log in there. They
// leave the partitioner alone: kgo's default puts a key into the partition that
// Java's producer and [kafkago.Balancer] choose.
func Options(cfg config.Kafka) ([]kgo.Opt, error) {
	secure, err := kafkaconn.TLS(cfg)
	if err != nil {
		return nil, err
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(kafkaconn.Brokers(cfg)...),
		kgo.ClientID(kafkaconn.ClientID),
		kgo.DialTimeout(kafkaconn.DialTimeout),
	}
	if secure != nil {
		options = append(options, kgo.DialTLSConfig(secure))
	}
	login := scram.Auth{User: cfg.SASLUsername, Pass: cfg.SASLPassword.Reveal()}
	switch cfg.SASLMechanism {
	case kafkaconn.Plain:
		options = append(options, kgo.SASL(plain.Auth{User: login.User, Pass: login.Pass}.AsMechanism()))
	case kafkaconn.ScramSHA256:
		options = append(options, kgo.SASL(login.AsSha256Mechanism()))
	case kafkaconn.ScramSHA512:
		options = append(options, kgo.SASL(login.AsSha512Mechanism()))
	}
	return options, nil
}
