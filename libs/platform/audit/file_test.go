package audit

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// The variables of a child process of a test.
const (
	childTask = "AUDIT_TEST_TASK"
	childFile = "AUDIT_TEST_FILE"
)

// child writes to the file of its parent, as another program does.
func child(task string) int {
	s := Settings{To: ToFile, File: os.Getenv(childFile), FileBytes: 64 << 10, Key: config.Secret(testKey)}
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	l, err := Open(s, Options{Program: task})
	if err != nil {
		return fail(err)
	}
	e := Event{Action: "look", Actor: task, Allowed: true}
	if task == "full" {
		signal.Ignore(syscall.SIGXFSZ)
		limit := func(bytes uint64) error {
			return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: 1 << 30})
		}
		if err := limit(2000); err != nil {
			return fail(err)
		}
		written := 0
		for ; err == nil; written++ {
			err = l.Write(context.Background(), e)
		}
		if err := limit(1 << 30); err != nil {
			return fail(err)
		}
		if err := l.Write(context.Background(), e); err != nil {
			return fail(err)
		}
		fmt.Println(written) // one failed, one came after it
	} else {
		go func() { // until the parent closes stdin, or kills it
			for i := 1; ; i++ {
				if err := l.Write(context.Background(), e); err != nil {
					return
				}
				fmt.Println(i)
			}
		}()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
	if err := l.Close(); err != nil {
		return fail(err)
	}
	return 0
}

func startChild(t *testing.T, task, file string) (cmd *exec.Cmd, stdin io.WriteCloser, stdout *bufio.Scanner) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childTask+"="+task, childFile+"="+file)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return cmd, stdin, bufio.NewScanner(out)
}

func verifyFiles(t *testing.T, s Settings) *Report {
	t.Helper()
	paths, err := s.Paths()
	require.NoError(t, err)
	var readers []io.Reader
	for _, path := range paths {
		file, err := os.Open(path)
		require.NoError(t, err)
		defer func() { _ = file.Close() }()
		readers = append(readers, file)
	}
	report, err := Verify([]byte(testKey), readers...)
	require.NoError(t, err)
	return report
}

func TestSeveralProcessesAppendRotateAndAreKilled(t *testing.T) {
	s := testSettings(t)
	l := mustOpen(t, s) // makes the folder
	require.NoError(t, l.Close())
	acknowledged := map[string]int{}
	const each = 500
	type process struct {
		cmd    *exec.Cmd
		stdin  io.WriteCloser
		stdout *bufio.Scanner
		name   string
	}
	var all []process
	for i := range 3 {
		name := "child" + strconv.Itoa(i)
		cmd, stdin, stdout := startChild(t, name, s.File)
		all = append(all, process{cmd, stdin, stdout, name})
	}
	for i, p := range all {
		read := func() {
			n, err := strconv.Atoi(p.stdout.Text())
			if err == nil { // a killed one may leave half a number
				acknowledged[p.name] = n
			}
		}
		for range each {
			require.True(t, p.stdout.Scan())
			read()
		}
		if i == 0 {
			require.NoError(t, p.cmd.Process.Kill())
		} else {
			require.NoError(t, p.stdin.Close())
		}
		for p.stdout.Scan() {
			read()
		}
		require.Equal(t, i == 0, p.cmd.Wait() != nil)
	}
	report := verifyFiles(t, s)
	for _, problem := range report.Problems {
		require.Equal(t, Torn, problem.Kind, "%v", report.Problems)
	}
	require.Equal(t, 4, report.Chains)
	require.Empty(t, report.Headless)
	require.Len(t, report.Unclosed, 1)
	require.Equal(t, "child0", report.Unclosed[0].Program)
	s.FileBytes = 64 << 10
	paths, err := s.Paths()
	require.NoError(t, err)
	require.Greater(t, len(paths), 3, "rotated")
	for _, path := range paths {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), s.FileBytes)
	}
	records, err := Read(s, 1<<20)
	require.NoError(t, err)
	written := map[string]int{}
	for _, r := range records {
		written[r.Actor]++
	}
	for name, n := range acknowledged {
		require.GreaterOrEqual(t, written[name], n, name)
	}
}

func TestARecordThatDoesNotFitIsTakenBack(t *testing.T) {
	s := testSettings(t)
	require.NoError(t, mustOpen(t, s).Close())
	cmd, stdin, stdout := startChild(t, "full", s.File)
	defer func() { _ = stdin.Close() }()
	require.True(t, stdout.Scan())
	written, err := strconv.Atoi(stdout.Text())
	require.NoError(t, err)
	require.NoError(t, cmd.Wait())
	report := verifyFiles(t, s)
	require.True(t, report.OK(), "%v", report.Problems)
	require.Empty(t, report.Unclosed)
	records, err := Read(s, 100)
	require.NoError(t, err)
	require.Len(t, records, written)
}

func TestOnlySoManyFilesAreKept(t *testing.T) {
	s := testSettings(t)
	s.FileBytes, s.Files = 64<<10, 2
	stranger := s.File + ".notes"
	l := mustOpen(t, s)
	require.NoError(t, os.WriteFile(stranger, nil, 0o600))
	for range 60 {
		require.NoError(t, l.Write(t.Context(), Event{Action: "look", Why: strings.Repeat("x", maxText)}))
	}
	require.NoError(t, l.Close())
	paths, err := s.Paths()
	require.NoError(t, err)
	require.Len(t, paths, 3)
	require.FileExists(t, stranger)
	report := verifyFiles(t, s)
	require.True(t, report.OK(), "%v", report.Problems)
	require.Len(t, report.Headless, 1)
	require.Greater(t, report.Headless[0].Seq, uint64(1))
}

func TestATornLineSpoilsNoOther(t *testing.T) {
	s := testSettings(t)
	require.NoError(t, mustOpen(t, s).Close())
	file, err := os.OpenFile(s.File, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString(`{"at":"2026-01-01T00:00:00Z","action":"lo`)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	l := mustOpen(t, s)
	require.NoError(t, l.Write(t.Context(), Event{Action: "look"}))
	require.NoError(t, l.Close())
	report := verifyFiles(t, s)
	require.Equal(t, []Problem{{Kind: Torn, Line: 3}}, report.Problems)
	require.Equal(t, 2, report.Chains)
	require.Empty(t, report.Unclosed)
	require.Empty(t, report.Headless, "the line after it is whole")
	records, err := Read(s, 10)
	require.NoError(t, err)
	require.Len(t, records, 1)
}
