package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
)

const (
	patience    = 90 * time.Second // for what takes seconds on a machine at ease
	stopPromise = 10 * time.Second
)

// account is a user to run a stack as; the zero value is the tests' own.
type account struct {
	name     string
	uid, gid uint32
	other    bool
}

// accounts are the users that a stack must work for. Only root can be another user.
func accounts(t *testing.T) []account {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("ORDERHUB_TEST_STRICT") == "1" {
			t.Fatal("only root can run the stack as root and as another user")
		}
		t.Log("SKIPPED: the stack as root and as another user, which takes root")
		return []account{{name: "self"}}
	}
	nobody, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.ParseUint(nobody.Uid, 10, 32)
	require.NoError(t, err)
	gid, err := strconv.ParseUint(nobody.Gid, 10, 32)
	require.NoError(t, err)
	return []account{{name: "root"}, {name: "nobody", uid: uint32(uid), gid: uint32(gid), other: true}}
}

// folder makes a folder of the account's that others can pass through.
func (a account) folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(filepath.Dir(dir), 0o755)) // which is made for this user alone
	t.Cleanup(func() {
		if base, err := os.ReadFile(filepath.Join(dir, "data", "postgres", "location")); err == nil {
			require.NoError(t, os.RemoveAll(strings.TrimSpace(string(base))))
		}
	})
	if a.other {
		require.NoError(t, os.Chown(dir, int(a.uid), int(a.gid)))
	}
	return dir
}

// site is where a stack runs: a working folder with its data, and ports of its own.
type site struct {
	account  account
	dir      string
	binaries string
	kafka    int
	postgres int
	nats     int
	http     string
	admin    string
	extra    []string // more environment
}

func newSite(t *testing.T, a account, binaries string) *site {
	t.Helper()
	return &site{
		account:  a,
		dir:      a.folder(t),
		binaries: binaries,
		kafka:    free(t, 1), postgres: free(t, 1), nats: free(t, 1),
		http: ports.Loopback(free(t, 2)), admin: ports.Loopback(free(t, 4)),
	}
}

// free returns the first of so many adjacent ports.
func free(t *testing.T, adjacent int) int {
	t.Helper()
	port, err := ports.Adjacent(adjacent)
	require.NoError(t, err)
	return port
}

func (s *site) environment() []string {
	environment := slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return name == "KAFKA_BROKERS" || name == "DATABASE_URL" || strings.HasPrefix(name, "NATS")
	})
	return append(append(environment,
		"HOME="+s.dir, "TMPDIR=/tmp", "ORDERHUB_DATA="+filepath.Join(s.dir, "data"),
		fmt.Sprint("KAFKA_PORT=", s.kafka), fmt.Sprint("POSTGRES_PORT=", s.postgres), fmt.Sprint("NATS_PORT=", s.nats),
		"HTTP_ADDR="+s.http, "ADMIN_ADDR="+s.admin), s.extra...)
}

func (s *site) databaseURL() string {
	return fmt.Sprintf("postgres://orders:orders@127.0.0.1:%d/orders?sslmode=disable", s.postgres)
}

// stackProcess is a stack that runs, or has run, as a process of its own.
type stackProcess struct {
	cmd  *exec.Cmd
	out  *safeBuffer
	done chan struct{}
	err  error
}

// launch runs the stack without waiting for anything.
func (s *site) launch(t *testing.T) *stackProcess {
	t.Helper()
	return s.launchCommand(t, filepath.Join(s.binaries, "stack"), "--bin", s.binaries)
}

func (s *site) launchCommand(t *testing.T, name string, arguments ...string) *stackProcess {
	t.Helper()
	p := &stackProcess{cmd: exec.Command(name, arguments...), out: &safeBuffer{}, done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = s.dir, s.environment()
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.WaitDelay = stopPromise
	// Of its own process group, as a terminal's Ctrl-C is not to reach the tests.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.account.other {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: s.account.uid, Gid: s.account.gid}
	}
	require.NoError(t, p.cmd.Start())
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, p.out)
		}
	})
	return p
}

// start runs the stack and waits until it's ready.
func (s *site) start(t *testing.T) *stackProcess {
	t.Helper()
	p := s.launch(t)
	p.waitReady(t)
	return p
}

func (p *stackProcess) waitReady(t *testing.T) {
	t.Helper()
	p.waitOutput(t, "Ctrl-C stops everything")
}

func (p *stackProcess) waitOutput(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool {
		select {
		case <-p.done:
			return true
		default:
			return strings.Contains(p.out.String(), text)
		}
	}, patience, 20*time.Millisecond, "the stack never said %q", text)
	require.Contains(t, p.out.String(), text)
}

// stop sends sig and expects an orderly end, in time, with exit code 0 and
// nothing left.
func (p *stackProcess) stop(t *testing.T, sig syscall.Signal) {
	t.Helper()
	descendants := p.descendants(t)
	began := time.Now()
	require.NoError(t, p.cmd.Process.Signal(sig))
	p.requireEnd(t)
	require.Less(t, time.Since(began), stopPromise)
	require.NoError(t, p.err, p.out.String())
	requireGone(t, descendants)
}

func (p *stackProcess) requireEnd(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatal("the stack doesn't end")
	}
}

// descendants are the ids of all processes that the stack has started. Without
// /proc there are none to be found.
func (p *stackProcess) descendants(t *testing.T) []int {
	t.Helper()
	children := map[int][]int{}
	for pid, stat := range processTable(t) {
		children[stat.parent] = append(children[stat.parent], pid)
	}
	all := []int{p.cmd.Process.Pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// requireGone waits until none of the processes runs any more.
func requireGone(t *testing.T, pids []int) {
	t.Helper()
	var left []string
	if !assertEventually(func() bool {
		left = nil
		table := processTable(t)
		for _, pid := range pids {
			if stat, there := table[pid]; there && stat.state != "Z" {
				left = append(left, fmt.Sprint(pid, " ", stat.name))
			}
		}
		return len(left) == 0
	}) {
		t.Fatalf("left running: %v", left)
	}
}

func assertEventually(condition func() bool) bool {
	for until := time.Now().Add(stopPromise); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if condition() {
			return true
		}
	}
	return condition()
}

type processStat struct {
	name, state string
	parent      int
}

func processTable(t *testing.T) map[int]processStat {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	table := map[int]processStat{}
	for _, file := range found {
		content, err := os.ReadFile(file)
		if err != nil {
			continue // it has just ended
		}
		// pid (name) state parent …, where the name may hold anything
		open, end := bytes.IndexByte(content, '('), bytes.LastIndexByte(content, ')')
		fields := strings.Fields(string(content[end+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		require.NoError(t, err)
		parent, err := strconv.Atoi(fields[1])
		require.NoError(t, err)
		table[pid] = processStat{name: string(content[open+1 : end]), state: fields[0], parent: parent}
	}
	return table
}

// safeBuffer is a buffer that is written and read at once.
type safeBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// playedBinaries is a folder that every user can reach where the test binary
// lies under all programs' names.
func playedBinaries(t *testing.T) string {
	t.Helper()
	dir := account{}.folder(t)
	copyProgram(t, os.Args[0], filepath.Join(dir, "stack"))
	for _, name := range []string{"ingest-worker", "read-api", "orderctl"} {
		require.NoError(t, os.Symlink("stack", filepath.Join(dir, name)))
	}
	return dir
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

func listen(t *testing.T, addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
}
