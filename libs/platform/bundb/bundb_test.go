package bundb

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// Each connection is made with what the files hold then: that of the address, and that of
// passwords.
func TestSettingsAreReadForEachConnection(t *testing.T) {
	folder := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	t.Setenv("PGPASSFILE", write("passwords", "*:*:*:*:from-passfile\n"))
	file := config.Database{URLFile: write("address", "postgres://u:first@127.0.0.1:1/orders\n")}
	named := config.Database{URL: "postgres://u@127.0.0.1:1/orders\n"}
	for want, replace := range map[[2]string]func(){
		{"first", "from-passfile"}: func() {},
		{"second", "replaced"}: func() {
			write("address", "postgres://u:second@127.0.0.1:1/orders\r\n")
			write("passwords", "*:*:*:*:replaced\n")
		},
	} {
		write("address", "postgres://u:first@127.0.0.1:1/orders\n")
		write("passwords", "*:*:*:*:from-passfile\n")
		replace()
		conn, err := Config(file, "test")
		require.NoError(t, err)
		require.Equal(t, want[0], conn.Password)
		require.Equal(t, "orders", conn.Database)
		conn, err = Config(named, "test")
		require.NoError(t, err)
		require.Equal(t, want[1], conn.Password)
		require.Equal(t, "orders", conn.Database, "without the line break")
	}
	db, err := Open(file, Options{MaxConns: 1, ApplicationName: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	write("address", "")
	err = db.PingContext(t.Context())
	require.ErrorIs(t, err, ErrSettings)
	require.ErrorContains(t, err, "DATABASE_URL_FILE: "+file.URLFile+" is empty")
}
