package pipeline

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/orderhub/orderhub/libs/ingest"
)

// summaryPeriod is the time between two lines about what the worker has done.
const summaryPeriod = 10 * time.Second

type tally struct {
	batches, records int
	outcomes         map[ingest.Outcome]int
	bytes            int64 // of keys and values
}

// countsOf are the fields of a line about records. Outcomes that only settings bring are
// left out where there are none.
func countsOf(records int, outcomes map[ingest.Outcome]int) []zap.Field {
	fields := []zap.Field{
		zap.Int("records", records), zap.Int("stored", outcomes[ingest.Stored]), zap.Int("duplicates", outcomes[ingest.Duplicate]),
		zap.Int("dead_letters", outcomes[ingest.DeadLetter]),
	}
	for _, rare := range []zap.Field{
		zap.Int("replaced", outcomes[ingest.Replaced]), zap.Int("stale", outcomes[ingest.Stale]),
		zap.Int("deleted", outcomes[ingest.Deleted]), zap.Int("erased", outcomes[ingest.Erased]),
	} {
		if rare.Integer > 0 {
			fields = append(fields, rare)
		}
	}
	return fields
}

// summary logs the batches of all partitions in one line: ten seconds after the first of
// them, and when the worker has no partition any more. Safe for concurrent use.
type summary struct {
	log *zap.Logger

	mu      sync.Mutex
	members int // partitions that are consumed
	sum     tally
	lag     map[int]int64 // by partition, as of its last batch
	began   time.Time
	timer   *time.Timer
}

func newSummary(log *zap.Logger) *summary {
	return &summary{log: log, lag: map[int]int64{}}
}

// join says that a partition is consumed from now on.
func (s *summary) join() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members++
}

// leave says that a partition is not consumed any longer.
func (s *summary) leave(partition int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.members--
	if s.members == 0 {
		s.write()
	}
	delete(s.lag, partition)
}

func (s *summary) add(partition int, lag int64, batch tally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sum.batches == 0 {
		s.began, s.sum.outcomes = time.Now(), map[ingest.Outcome]int{}
		s.timer = time.AfterFunc(summaryPeriod, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.write()
		})
	}
	s.sum.batches += batch.batches
	s.sum.records += batch.records
	for outcome, n := range batch.outcomes {
		s.sum.outcomes[outcome] += n
	}
	s.sum.bytes += batch.bytes
	s.lag[partition] = lag
}

// write logs what was counted since the last time, if anything was. s.mu is held.
func (s *summary) write() {
	if s.sum.batches == 0 {
		return
	}
	s.timer.Stop()
	var lag int64
	for _, records := range s.lag {
		lag += records
	}
	s.log.Info("summary of batches", append(countsOf(s.sum.records, s.sum.outcomes), zap.Int("batches", s.sum.batches),
		zap.Int64("bytes", s.sum.bytes), zap.Int64("lag", lag), zap.Duration("duration_seconds", time.Since(s.began)))...)
	s.sum = tally{}
}
