package postgres_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// dirVariable makes the test binary run a server on that folder until it is killed.
const dirVariable = "DEVSTACK_TEST_POSTGRES_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(dirVariable); dir != "" {
		runUntilKilled(dir)
	}
	goleak.VerifyTestMain(postgres.Shared(m))
}

func runUntilKilled(dir string) {
	server, err := postgres.Start(context.Background(), postgres.Options{DataDir: dir, Unsafe: true})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(server.Pid(), server.URL())
	select {}
}

func TestServerEndsWithItsKilledOwner(t *testing.T) {
	dir := dataDir(t)
	owner := exec.Command(os.Args[0])
	owner.Env = append(os.Environ(), dirVariable+"="+dir)
	stdout, err := owner.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, owner.Start())
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	pid, url, ok := strings.Cut(strings.TrimSpace(line), " ")
	require.True(t, ok, line)
	run(t, url, "CREATE TABLE kept AS SELECT 1 AS n")
	require.NoError(t, owner.Process.Kill())
	require.Error(t, owner.Wait())

	// Starting again waits for the processes of the former server to be gone.
	server := postgres.ServerForTest(t, postgres.Options{DataDir: dir, Unsafe: true})
	require.NotEqual(t, pid, strconv.Itoa(server.Pid()))
	require.NoError(t, server.Stop(context.Background()))
	_, err = os.Readlink(filepath.Join("/proc", pid, "cwd"))
	require.ErrorIs(t, err, os.ErrNotExist, "the former server's process is still there")

	server = postgres.ServerForTest(t, postgres.Options{DataDir: dir, Unsafe: true})
	require.Equal(t, 1, count(t, server.URL()))
}

// TestAsPlainUser runs tests of this package again as a user who isn't root.
func TestAsPlainUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: these tests run as a plain user already")
	}
	nobody, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.Atoi(nobody.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(nobody.Gid)
	require.NoError(t, err)

	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755)) // which is made for this user alone
	require.NoError(t, os.Chown(dir, uid, gid))
	binary := filepath.Join(dir, "postgres.test")
	copyProgram(t, os.Args[0], binary)

	cmd := exec.Command(binary, "-test.v", "-test.run", "^(TestDataIsKept|TestKilledServerComesBack|TestServerEndsWithItsKilledOwner)$")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + dir, "HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))
	require.Equal(t, 3, strings.Count(string(output), "--- PASS"), string(output))
}

func copyProgram(t *testing.T, from, to string) {
	t.Helper()
	source, err := os.Open(from)
	require.NoError(t, err)
	defer func() { _ = source.Close() }()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	require.NoError(t, err)
	_, err = io.Copy(target, source)
	require.NoError(t, err)
	require.NoError(t, target.Close())
}
