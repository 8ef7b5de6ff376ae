// Package nginx runs an nginx for tests of what is served behind a proxy.
package nginx

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

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

const (
	startTime = 30 * time.Second
	stopTime  = 10 * time.Second
)

// ForTest serves with these locations until the end of the test, and returns the
// address, host:port.
//
// Where there is no nginx the test is skipped with a loud line, or fails where
// ORDERHUB_TEST_STRICT=1 says that there must be one.
func ForTest(t testing.TB, locations string) string {
	t.Helper()
	program := find()
	if program == "" {
		const missing = "NO NGINX: what is served below a path is not tested behind it"
		if os.Getenv("ORDERHUB_TEST_STRICT") == "1" {
			t.Fatal(missing)
		}
		_, _ = fmt.Fprintln(os.Stderr, missing)
		t.Skip(missing)
	}
	port, err := ports.Free()
	if err != nil {
		t.Fatal(err)
	}
	folder, addr := t.TempDir(), ports.Loopback(port)
	file := filepath.Join(folder, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, configuration, folder, addr, locations), 0o600); err != nil {
		t.Fatal(err)
	}
	nginx := process.NewDaemon("nginx", filepath.Join(folder, "log"), func() *exec.Cmd {
		return exec.CommandContext(context.Background(), program, "-p", folder, "-c", file, "-e", "stderr")
	})
	if err := nginx.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		if err := nginx.Stop(ctx, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	err = nginx.WaitReady(ctx, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			_ = conn.Close() // it was only knocked at
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func find() string {
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} { // Debian's is not on the PATH of users
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}
