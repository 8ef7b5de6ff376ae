package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
)

func TestHostsThatOthersCall(t *testing.T) {
	for text, want := range map[string]string{"": "", "localhost": "", "127.0.0.1": "", "[::1]": "", "192.0.2.9": "192.0.2.9", "[2001:db8::1]": "2001:db8::1", "0.0.0.0": ports.Outward(), "*": ports.Outward()} {
		host := text
		err := outward("KAFKA_HOST", &host)
		if want == "" && (text == "*" || text == "0.0.0.0") {
			require.ErrorContains(t, err, "no address but the loopback")
			continue
		}
		require.NoError(t, err, text)
		require.Equal(t, want, host, text)
	}
	for _, text := range []string{"no-such-machine.invalid", "192.0.2.9:9092", "http://192.0.2.9"} {
		require.ErrorContains(t, outward("KAFKA_HOST", &text), "KAFKA_HOST: this machine's own programs cannot find")
	}
}

func TestWhatOthersReachIsWarnedOf(t *testing.T) {
	s := settings{KafkaPort: 9092, PostgresPort: 5432, HTTPAddr: "127.0.0.1:8081"}
	require.Empty(t, s.exposed())
	s.KafkaHost, s.PostgresHost, s.HTTPAddr = "192.0.2.9", "192.0.2.9", ":8081"
	require.Equal(t, []string{
		"whoever reaches 192.0.2.9:9092 can read and write the topics: the broker knows no login",
		"whoever reaches 192.0.2.9:5432 can change the database: its password is no secret",
		"whoever reaches :8081 sees the orders, with personal data, without a login",
	}, s.exposed())
	s.KafkaBrokers, s.DatabaseURL, s.HTTPAddr = "kafka:9092", "postgres://db/orders", "localhost:8081"
	require.Empty(t, s.exposed(), "they are not ours to open")
}
