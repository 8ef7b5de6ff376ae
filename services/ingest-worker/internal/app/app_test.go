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
	t.Setenv("KAFKA_SASL_PASSWORD", "hunter2")
	var out, errs bytes.Buffer
	require.Equal(t, 0, Main([]string{"--help"}, &out, &errs))
	for _, name := range []string{
		"KAFKA_BROKERS", "KAFKA_TOPIC", "KAFKA_DLQ_TOPIC", "KAFKA_GROUP", "KAFKA_TLS", "KAFKA_SASL_MECHANISM",
		"DATABASE_URL", "ADMIN_ADDR", "LOG_LEVEL", "LOG_FORMAT",
	} {
		require.Contains(t, out.String(), name)
	}
	require.NotContains(t, out.String(), "hunter2")
	require.Empty(t, errs.String())
}

func TestAWrongSettingIsRefusedByName(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, value := range map[string]string{
		"ADMIN_ADDR": "nowhere", "INGEST_MEMORY_BYTES": "-1", "KAFKA_SESSION_TIMEOUT": "soon", "LOG_LEVEL": "loud",
		"STOP_TIMEOUT": "0s",
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			var out, errs bytes.Buffer
			require.Equal(t, 2, Main(nil, &out, &errs))
			require.Contains(t, errs.String(), name)
		})
	}
	var out, errs bytes.Buffer
	require.Equal(t, 2, Main([]string{"--nonsense"}, &out, &errs))
	require.Contains(t, errs.String(), "--help")
}
