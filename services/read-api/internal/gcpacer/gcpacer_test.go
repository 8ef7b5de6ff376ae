package gcpacer

import (
	"bytes"
	"context"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheShareOfGarbageShrinksAsOrdersGrow(t *testing.T) {
	for orders, want := range map[int64]int{0: 100, 1 << 20: 100, 32 << 20: 50, 160 << 20: 10, 1 << 30: 3, 1 << 40: 3} {
		require.Equal(t, want, percentFor(orders, headroom), "%d bytes of orders", orders)
	}
}

// restore puts the runtime's settings back after a test.
func restore(t *testing.T) {
	t.Helper()
	percent := debug.SetGCPercent(100)
	limit := debug.SetMemoryLimit(-1)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
}

// percentage reads the runtime's setting.
func percentage() int {
	percent := debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	return percent
}

func TestThePacerSetsTheRuntime(t *testing.T) {
	restore(t)
	unset(t, "GOGC")
	g := New()
	g.Follow(256 << 20)
	require.Equal(t, 25, percentage(), "while orders are restored")
	g.Settle()
	require.Equal(t, 6, percentage())
	g.Follow(32 << 20)
	require.Equal(t, 50, percentage())
	g.Follow(1 << 30)
	require.Equal(t, minPercent, percentage())
}

func TestThePacerLeavesGOGCAlone(t *testing.T) {
	restore(t)
	t.Setenv("GOGC", "100")
	New().Follow(1 << 30)
	require.Equal(t, 100, percentage())
}

// TestMemoryIsGivenBackAfterChanges looks at how much free memory the runtime
// keeps, which it gives back by itself only in part.
func TestMemoryIsGivenBackAfterChanges(t *testing.T) {
	restore(t)
	kept := func() uint64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	g := New()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.run(ctx, time.Millisecond)
	}()
	defer func() {
		cancel()
		<-done
	}()
	func() {
		held := make([][]byte, 0, 512)
		for range cap(held) {
			held = append(held, bytes.Repeat([]byte("x"), 128<<10))
		}
		g.Follow(64 << 20)
		runtime.KeepAlive(held)
	}()
	runtime.GC()
	g.Follow(0)
	require.Eventually(t, func() bool { return kept() < 8<<20 }, 20*time.Second, time.Millisecond)
}

func TestGOMEMLIMITWins(t *testing.T) {
	restore(t)
	t.Setenv("GOMEMLIMIT", "123MiB")
	debug.SetMemoryLimit(123 << 20) // as the runtime has done from the variable
	limit, err := SetLimit()
	require.NoError(t, err)
	require.EqualValues(t, 123<<20, limit)
}

// TestTheContainersLimitIsTaken can't make a container; it sees that there is a
// limit exactly where the machine has one.
func TestTheContainersLimitIsTaken(t *testing.T) {
	restore(t)
	unset(t, "GOMEMLIMIT")
	limit, err := SetLimit()
	require.NoError(t, err)
	require.Equal(t, limit == 0, debug.SetMemoryLimit(-1) == math.MaxInt64)
}

func unset(t *testing.T, name string) {
	t.Helper()
	t.Setenv(name, "")
	require.NoError(t, os.Unsetenv(name))
}
