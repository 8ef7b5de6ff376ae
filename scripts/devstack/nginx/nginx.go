// Package nginx runs an nginx for tests of what is served behind a proxy.
package nginx

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
)

// configuration has everything in one folder, and one process.
const configuration = `daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  server {
    listen %[2]s;
%[3]s
  }
}
`

// ForTest serves with these locations until the end of the test, and returns the
// address, host:port. Without an nginx, see [process.SkipForTest].
func ForTest(t testing.TB, locations string) string {
	t.Helper()
	program := process.NeedForTest(t, "nginx", "/usr/sbin/nginx") // Debian's is not on the PATH of users
	port, err := ports.Free()
	require.NoError(t, err)
	folder, addr := t.TempDir(), ports.Loopback(port)
	file := filepath.Join(folder, "nginx.conf")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, configuration, folder, addr, locations), 0o600))
	process.StartForTest(t, "nginx", func() *exec.Cmd {
		return exec.CommandContext(context.Background(), program, "-p", folder, "-c", file, "-e", "stderr")
	}, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	return addr
}
