package audit

import (
	"path/filepath"
	"testing"
)

// BenchmarkWrite records from as many connections as a busy server has.
func BenchmarkWrite(b *testing.B) {
	l, err := Open(Settings{To: ToFile, File: filepath.Join(b.TempDir(), "audit.jsonl"), FileBytes: 1 << 40, Key: "0123456789abcdef"}, Options{Program: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	e := Event{Action: "order", Targets: []string{"b563feb7b2b84b6test"}, Allowed: true, Actor: "ann@example.com", ActorKind: "jwt", From: "192.0.2.1"}
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := l.Write(b.Context(), e); err != nil {
				b.Error(err)
			}
		}
	})
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}
