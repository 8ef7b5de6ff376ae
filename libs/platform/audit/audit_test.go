package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderhub/orderhub/libs/platform/config"
)

const testKey = "0123456789abcdef"

func TestMain(m *testing.M) {
	if task := os.Getenv(childTask); task != "" {
		os.Exit(child(task))
	}
	goleak.VerifyTestMain(m)
}

func testSettings(t *testing.T) Settings {
	t.Helper()
	return Settings{To: ToFile, File: filepath.Join(t.TempDir(), "new", "audit.jsonl"), FileBytes: 1 << 20, Key: testKey}
}

func mustOpen(t *testing.T, s Settings) *Log {
	t.Helper()
	l, err := Open(s, Options{Program: "test", Version: "1"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestWriteThenRead(t *testing.T) {
	s := testSettings(t)
	l := mustOpen(t, s)
	first := Event{Action: "reveal", Targets: []string{"a\"b\n", "c"}, Why: "asked", Allowed: true, Actor: "ann", ActorKind: "jwt", From: "::1", RequestID: "r"}
	second := Event{Action: "erase", Targets: []string{"x"}, Actor: "bob\xff"}
	many := Event{Action: "export", Targets: make([]string, MaxNamed+5), Actor: strings.Repeat("a", 2*maxText)}
	for _, e := range []Event{first, second, many} {
		require.NoError(t, l.Write(t.Context(), e))
	}
	require.NoError(t, l.Close())
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Write(t.Context(), first), ErrClosed)

	records, err := Read(s, 10)
	require.NoError(t, err)
	require.Len(t, records, 3)
	second.Actor = "bob\ufffd"
	require.Len(t, records[0].Targets, MaxNamed)
	require.Len(t, records[0].Actor, maxText)
	require.Equal(t, MaxNamed+5, records[0].Count)
	require.Equal(t, second, records[1].Event)
	require.Equal(t, first, records[2].Event)
	require.Equal(t, uint64(3), records[1].Seq)
	info, err := os.Stat(s.File)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

// memory is a sink that a test looks into and lets fail.
type memory struct {
	mu      sync.Mutex
	appends [][]string
	fail    error
	wait    chan struct{} // Append receives from it, where it is set
	entered chan struct{}
}

func (m *memory) Append(_ context.Context, _ string, lines []byte) error {
	m.mu.Lock()
	wait, fail := m.wait, m.fail
	m.mu.Unlock()
	if wait != nil {
		m.entered <- struct{}{}
		<-wait
	}
	if fail != nil {
		return fail
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.appends = append(m.appends, strings.SplitAfter(strings.TrimSuffix(string(lines), "\n"), "\n"))
	return nil
}

func (m *memory) Close() error { return nil }

func (m *memory) set(fail error, wait chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail, m.wait = fail, wait
}

func (m *memory) text() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var text strings.Builder
	for _, lines := range m.appends {
		text.WriteString(strings.Join(lines, "") + "\n")
	}
	return text.String()
}

func openMemory(t *testing.T, m *memory, log *zap.Logger) *Log {
	t.Helper()
	l, err := Open(Settings{To: ToKafka, Topic: "audit", Key: testKey}, Options{
		Program: "test", Log: log, HeadEvery: time.Millisecond,
		Kafka: func(topic string) (Sink, error) { require.Equal(t, "audit", topic); return m, nil },
	})
	require.NoError(t, err)
	return l
}

func TestConcurrentWritesShareAnAppendAndWaitForIt(t *testing.T) {
	m := &memory{entered: make(chan struct{})}
	l := openMemory(t, m, nil)
	gate := make(chan struct{})
	m.set(nil, gate)
	var writes sync.WaitGroup
	returned := make(chan struct{}, 100)
	write := func(n int) {
		for range n {
			writes.Go(func() {
				if err := l.Write(t.Context(), Event{Action: "look", Allowed: true}); err != nil {
					t.Error(err)
				}
				returned <- struct{}{}
			})
		}
	}
	write(1)
	<-m.entered
	write(50) // while the first one is written
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.next.events) == 50
	}, time.Minute, time.Millisecond)
	require.Empty(t, returned, "none returns before its line is durable")
	gate <- struct{}{}
	<-m.entered
	gate <- struct{}{}
	writes.Wait()
	m.set(nil, nil)
	require.NoError(t, l.Close())
	require.Len(t, m.appends, 4, "opening, one, the others together, closing")
	require.Len(t, m.appends[2], 50)
	report, err := Verify([]byte(testKey), strings.NewReader(m.text()))
	require.NoError(t, err)
	require.True(t, report.OK(), "%v", report.Problems)
	require.Empty(t, report.Unclosed)
}

func TestAFailureIsTheWritersAndTheChainGoesOn(t *testing.T) {
	m := &memory{}
	l := openMemory(t, m, nil)
	look := Event{Action: "look", Allowed: true}
	require.NoError(t, l.Write(t.Context(), look))
	chain := l.chain.id
	m.set(errors.New("disk full"), nil)
	require.EqualError(t, l.Write(t.Context(), look), "audit log in topic audit: disk full")
	m.set(nil, nil)
	require.NoError(t, l.Write(t.Context(), look))
	require.Equal(t, chain, l.chain.id)
	m.set(fmt.Errorf("half of it: %w", ErrUncertain), nil)
	require.ErrorIs(t, l.Write(t.Context(), look), ErrUncertain)
	m.set(nil, nil)
	require.NoError(t, l.Write(t.Context(), look))
	require.NotEqual(t, chain, l.chain.id, "whether the number was used is not known")
	require.NoError(t, l.Close())
	report, err := Verify([]byte(testKey), strings.NewReader(m.text()))
	require.NoError(t, err)
	require.True(t, report.OK(), "%v", report.Problems)
	require.Equal(t, 2, report.Chains)
	require.Len(t, report.Unclosed, 1)
	require.Equal(t, chain, report.Unclosed[0].Chain)
	require.Equal(t, uint64(3), report.Unclosed[0].Seq)
}

func TestAWriteEndsWithItsContextAndWithTooManyOthers(t *testing.T) {
	m := &memory{entered: make(chan struct{})}
	l := openMemory(t, m, nil)
	gate := make(chan struct{})
	m.set(nil, gate)
	ctx, cancel := context.WithCancel(t.Context())
	var first sync.WaitGroup
	first.Go(func() { require.ErrorIs(t, l.Write(ctx, Event{Action: "look"}), context.Canceled) })
	<-m.entered
	cancel()
	first.Wait()
	for range maxWaiting {
		require.ErrorIs(t, l.Write(ctx, Event{Action: "look"}), context.Canceled)
	}
	require.ErrorIs(t, l.Write(t.Context(), Event{Action: "look"}), ErrBusy)
	m.set(nil, nil)
	gate <- struct{}{}
	require.NoError(t, l.Close())
}

func TestHeadsAreLogged(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	m := &memory{}
	l := openMemory(t, m, zap.New(core))
	require.NoError(t, l.Write(t.Context(), Event{Action: "look"}))
	heads := func() []observer.LoggedEntry { return logs.FilterMessage("audit log's head").All() }
	require.Eventually(t, func() bool {
		all := heads()
		return len(all) > 0 && all[len(all)-1].ContextMap()["sequence"] == uint64(2)
	}, time.Minute, time.Millisecond)
	require.NoError(t, l.Close())
	closed := logs.FilterMessage("audit log closed").All()
	require.Len(t, closed, 1)
	last := m.appends[len(m.appends)-1][0]
	require.Contains(t, last, closed[0].ContextMap()["head"].(string))
	require.Equal(t, uint64(3), closed[0].ContextMap()["sequence"])
}

func TestSettings(t *testing.T) {
	for _, name := range []string{"ORDERHUB_AUDIT", "ORDERHUB_AUDIT_FILE", "ORDERHUB_AUDIT_LOG", "ORDERHUB_AUDIT_KEY"} {
		t.Setenv(name, "")
	}
	state, configuration := t.TempDir(), t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	t.Setenv("XDG_CONFIG_HOME", configuration)
	load := func() (s Settings, err error) {
		var all struct{ Audit Settings }
		err = config.Load(&all)
		return all.Audit, err
	}
	s, err := load()
	require.NoError(t, err)
	path, err := s.Path()
	require.NoError(t, err)
	require.Equal(t, filepath.Join(state, "orderhub", "audit.jsonl"), path)

	t.Run("what an earlier version wrote is read first", func(t *testing.T) {
		old := filepath.Join(configuration, "orderhub", "audit.jsonl")
		require.NoError(t, os.Mkdir(filepath.Dir(old), 0o700))
		require.NoError(t, os.WriteFile(old, []byte(`{"at":"2023-11-14T22:13:20Z","actor":"ann","action":"reveal","letters":["orders/0/1/aaaaaaaa"]}`+"\n"), 0o600))
		l := mustOpen(t, s)
		require.NoError(t, l.Write(t.Context(), Event{Action: "edit", Actor: "bob", Allowed: true}))
		records, err := Read(s, 10)
		require.NoError(t, err)
		require.Len(t, records, 2)
		require.Equal(t, "bob", records[0].Actor)
		require.Equal(t, Event{Action: "reveal", Actor: "ann", Targets: []string{"orders/0/1/aaaaaaaa"}, Allowed: true}, records[1].Event)
		paths, err := s.Paths()
		require.NoError(t, err)
		require.Equal(t, []string{old, path}, paths)
	})
	t.Run("the old name", func(t *testing.T) {
		t.Setenv("ORDERHUB_AUDIT_LOG", filepath.Join(t.TempDir(), "old.jsonl"))
		s, err := load()
		require.NoError(t, err)
		core, logs := observer.New(zap.WarnLevel)
		l, err := Open(s, Options{Log: zap.New(core)})
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.FileExists(t, s.OldFile)
		require.Equal(t, 1, logs.FilterMessageSnippet("ORDERHUB_AUDIT_LOG is the old name of ORDERHUB_AUDIT_FILE").Len())
		t.Setenv("ORDERHUB_AUDIT_FILE", "x")
		_, err = load()
		require.ErrorContains(t, err, "set one of them")
	})
	t.Run("refused", func(t *testing.T) {
		t.Setenv("ORDERHUB_AUDIT", "syslog")
		t.Setenv("ORDERHUB_AUDIT_KEY", "short")
		_, err := load()
		require.ErrorContains(t, err, "ORDERHUB_AUDIT: unknown value")
		require.ErrorContains(t, err, "ORDERHUB_AUDIT_KEY: has 5 bytes")
		require.NotContains(t, err.Error(), "short")
	})
	_, err = Read(Settings{To: ToStdout}, 1)
	require.ErrorContains(t, err, "ORDERHUB_AUDIT=stdout")
	_, err = Open(Settings{To: ToKafka}, Options{})
	require.ErrorContains(t, err, "ORDERHUB_AUDIT=kafka")
	_, err = Open(Settings{To: ToFile, File: filepath.Join(path, "below a file")}, Options{})
	require.Error(t, err)
}

func TestReadLooksIntoEarlierFilesAndLongOnes(t *testing.T) {
	s := testSettings(t)
	s.FileBytes, s.Files = 200<<10, 0
	l := mustOpen(t, s)
	const total = 1000
	for i := range total {
		require.NoError(t, l.Write(t.Context(), Event{Action: "look", Actor: strconv.Itoa(i), Why: strings.Repeat("x", i)}))
	}
	paths, err := s.Paths()
	require.NoError(t, err)
	require.Greater(t, len(paths), 2)
	records, err := Read(s, total-1)
	require.NoError(t, err)
	require.Len(t, records, total-1)
	for i, r := range records {
		require.Equal(t, strconv.Itoa(total-1-i), r.Actor)
	}
	line, err := json.Marshal(records[0])
	require.NoError(t, err)
	require.Contains(t, string(line), `"allowed":false`)
}
