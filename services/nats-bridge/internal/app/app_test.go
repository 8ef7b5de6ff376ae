package app

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/fx"

	"github.com/orderhub/orderhub/libs/platform/config"
)

func TestThePartsFitTogether(t *testing.T) {
	t.Chdir(t.TempDir())
	settings := &Settings{}
	require.NoError(t, config.Load(settings))
	require.NoError(t, fx.ValidateApp(Options(settings)))
}

func TestHelpNamesEverySettingAndNoSecret(t *testing.T) {
	t.Setenv("NATS_PASSWORD", "hunter2")
	var out, errs bytes.Buffer
	require.Equal(t, 0, Main([]string{"--help"}, &out, &errs))
	for _, name := range []string{
		"NATS_URL", "NATS_STREAM", "NATS_SUBJECT", "NATS_DURABLE", "NATS_MODE", "NATS_CREDS_FILE", "NATS_NKEY_FILE",
		"NATS_TLS_CA_FILE", "STAN_CLUSTER_ID", "STAN_CLIENT_ID", "KAFKA_BROKERS", "KAFKA_TOPIC", "ADMIN_ADDR", "LOG_LEVEL",
	} {
		require.Contains(t, out.String(), name)
	}
	require.NotContains(t, out.String(), "hunter2")
	require.Empty(t, errs.String())
}

func TestAWrongSettingIsRefusedByName(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, value := range map[string]string{
		"NATS_MODE": "core", "NATS_STREAM": "a.b", "NATS_DURABLE": "a b", "NATS_SUBJECT": "a b",
		"NATS_TLS_CERT_FILE": "a.pem", "NATS_USER": "somebody", "NATS_MAX_IN_FLIGHT": "0", "NATS_ACK_WAIT": "soon",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			var out, errs bytes.Buffer
			require.Equal(t, 2, Main(nil, &out, &errs))
			require.Contains(t, errs.String(), name)
		})
	}
}

func TestAFileThatCannotBeReadIsRefusedByName(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"NATS_CREDS_FILE", "NATS_NKEY_FILE", "NATS_TLS_CA_FILE"} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "/absent")
			var out, errs bytes.Buffer
			require.Equal(t, 1, Main(nil, &out, &errs))
			require.Contains(t, errs.String(), name)
		})
	}
}
