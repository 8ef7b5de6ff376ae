package pipeline

import (
	"context"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
)

// Budget bounds the bytes in flight of all partitions. An eighth is for answers of the
// broker that are being decoded, an eighth for answers that are larger than a
// partition's share of that, and the rest for decoded records. The parts are separate
// because an answer is released only after its records were admitted. Waiters are
// served in turn, so a large record is not overtaken for ever. Safe for concurrent use.
type Budget struct {
	answers, records           *semaphore.Weighted
	answersLimit, recordsLimit int64
	limit                      int64
	used                       atomic.Int64
}

// NewBudget returns a budget of so many bytes, at least 8.
func NewBudget(limit int64) *Budget {
	answers := limit / 8
	return &Budget{
		limit:   limit,
		answers: semaphore.NewWeighted(answers), answersLimit: answers,
		records: semaphore.NewWeighted(limit - 2*answers), recordsLimit: limit - 2*answers,
	}
}

// share returns one partition's part of the budget of so many partitions. A blocked
// partition cannot starve the others.
func (b *Budget) share(partitions int) *share {
	records := max(1, b.recordsLimit/int64(max(1, partitions)))
	answers := max(1, b.answersLimit/int64(max(1, partitions)))
	return &share{
		records: semaphore.NewWeighted(records), recordsLimit: records,
		answers: semaphore.NewWeighted(answers), answersLimit: answers, budget: b,
	}
}

// share is a partition's part of a budget. Anything larger than the share waits for
// room in the whole budget as well.
type share struct {
	records, answers           *semaphore.Weighted
	recordsLimit, answersLimit int64
	budget                     *Budget
}

// take waits until a record of n bytes fits, or ctx ends.
func (s *share) take(ctx context.Context, n int64) error {
	if err := s.records.Acquire(ctx, min(n, s.recordsLimit)); err != nil {
		return err
	}
	if err := s.budget.records.Acquire(ctx, min(n, s.budget.recordsLimit)); err != nil {
		s.records.Release(min(n, s.recordsLimit))
		return err
	}
	s.budget.used.Add(n)
	return nil
}

// tryTake is a take that doesn't wait.
func (s *share) tryTake(n int64) bool {
	if !s.records.TryAcquire(min(n, s.recordsLimit)) {
		return false
	}
	if !s.budget.records.TryAcquire(min(n, s.budget.recordsLimit)) {
		s.records.Release(min(n, s.recordsLimit))
		return false
	}
	s.budget.used.Add(n)
	return true
}

func (s *share) give(n int64) {
	s.budget.used.Add(-n)
	s.budget.records.Release(min(n, s.budget.recordsLimit))
	s.records.Release(min(n, s.recordsLimit))
}

// The requested size of an answer is the share within these bounds: a smaller answer
// would cost a request for few records, a larger one gains nothing.
const (
	minAnswerBytes = 64 << 10
	maxAnswerBytes = 4 << 20
)

// answerBytes is the requested size of the broker's answers.
func (s *share) answerBytes() int32 {
	return int32(min(max(s.answersLimit, minAnswerBytes), maxAnswerBytes))
}

// admit lets an answer of the broker into memory; see fetch.Config.Admit. An answer is
// larger than the share if a single batch is.
func (s *share) admit(ctx context.Context, size int) (release func(), err error) {
	from, n := s.answers, int64(size)
	if n > s.answersLimit {
		from, n = s.budget.answers, min(n, s.budget.answersLimit)
	}
	if err := from.Acquire(ctx, n); err != nil {
		return nil, err
	}
	s.budget.used.Add(n)
	return func() {
		s.budget.used.Add(-n)
		from.Release(n)
	}, nil
}
