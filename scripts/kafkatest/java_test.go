package kafkatest

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/process"
)

// codecs are those of Kafka's own producers.
var codecs = []string{"none", "gzip", "snappy", "lz4", "zstd"}

// mode is how a producer sends.
type mode int

const (
	plain mode = iota
	idempotent
	transactional
)

var modes = []mode{plain, idempotent, transactional}

// java is Kafka's own client, in a process that does what it is told.
type java struct {
	t      *testing.T
	proc   *process.Process
	stdin  io.WriteCloser
	answer *bufio.Scanner
	stderr *bytes.Buffer
	asked  int // commands that are not answered yet
}

// java compiles testdata/Produce.java and runs it until the end of the test.
func (s *stage) java() *java {
	s.t.Helper()
	folder := s.t.TempDir()
	require.NoError(s.t, s.cluster.Distribution.Compile(bounded(s.t), filepath.Join("testdata", "Produce.java"), folder))
	cmd := s.cluster.Distribution.Java("256m", "Produce", nil, folder)
	stdin, err := cmd.StdinPipe()
	require.NoError(s.t, err)
	output, input, err := os.Pipe()
	require.NoError(s.t, err)
	j := &java{t: s.t, stdin: stdin, answer: bufio.NewScanner(output), stderr: &bytes.Buffer{}}
	cmd.Stdout, cmd.Stderr = input, j.stderr
	j.proc, err = process.Start(cmd, syscall.SIGKILL)
	require.NoError(s.t, err)
	require.NoError(s.t, input.Close())
	s.t.Cleanup(func() {
		_ = j.proc.Stop(bounded(s.t), syscall.SIGKILL)
		_ = output.Close()
	})
	return j
}

// tell gives a command without waiting for its answer.
func (j *java) tell(words ...string) {
	j.t.Helper()
	_, err := io.WriteString(j.stdin, strings.Join(words, " ")+"\n")
	require.NoError(j.t, err)
	j.asked++
}

// command gives a command and waits until it and all before are done.
func (j *java) command(words ...string) {
	j.t.Helper()
	j.tell(words...)
	for ; j.asked > 0; j.asked-- {
		if !j.answer.Scan() {
			<-j.proc.Done()
			j.t.Fatalf("Kafka's client, told to %s: %v\n%s", words[0], j.proc.Err(), j.stderr)
		}
		require.Equal(j.t, "ok", j.answer.Text())
	}
}

// open starts a producer. Of the settings, a transactional.id is for those modes
// that have one.
func (j *java) open(brokers []string, m mode, settings ...string) {
	j.t.Helper()
	words := []string{"open", "bootstrap.servers=" + strings.Join(brokers, ","), "acks=all", fmt.Sprint("enable.idempotence=", m != plain)}
	for _, setting := range settings {
		if m == transactional || !strings.HasPrefix(setting, "transactional.id=") {
			words = append(words, setting)
		}
	}
	j.command(words...)
}

func (j *java) send(topic string, partition int, key, value string) {
	j.t.Helper()
	j.tell("send", topic, fmt.Sprint(partition), key, hex.EncodeToString([]byte(value)))
}

// inTransaction sends within a transaction, where the mode has them, and says
// whether what was sent counts.
func (j *java) inTransaction(m mode, commit bool, send func()) (counts bool) {
	j.t.Helper()
	if m != transactional {
		send()
		j.command("flush")
		return true
	}
	j.command("begin")
	send()
	j.command("flush")
	if commit {
		j.command("commit")
	} else {
		j.command("abort")
	}
	return commit
}
