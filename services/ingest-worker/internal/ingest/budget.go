package ingest

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// Budget bounds the bytes in flight, over all partitions: a quarter is for
// answers of the broker that are being decoded, the rest for decoded records.
// They are apart, since an answer is only let go of once its records have found
// room. Whoever waits is served in turn, so a large record is not overtaken for
// ever. Safe for concurrent use.
type Budget struct {
	answers, records           *semaphore.Weighted
	answersLimit, recordsLimit int64
}

// NewBudget returns a budget of so many bytes, at least 4.
func NewBudget(limit int64) *Budget {
	answers := limit / 4
	return &Budget{
		answers: semaphore.NewWeighted(answers), answersLimit: answers,
		records: semaphore.NewWeighted(limit - answers), recordsLimit: limit - answers,
	}
}

// share returns one partition's part of the budget where there are so many
// partitions: one that is blocked cannot starve the others.
func (b *Budget) share(partitions int) *share {
	limit := max(1, b.recordsLimit/int64(max(1, partitions)))
	return &share{own: semaphore.NewWeighted(limit), limit: limit, budget: b}
}

// share is a partition's part of a budget. A record that is larger than the
// share takes it whole, and its real size from the budget.
type share struct {
	own    *semaphore.Weighted
	limit  int64
	budget *Budget
}

// take waits until n bytes are free, or ctx ends.
func (s *share) take(ctx context.Context, n int64) error {
	if err := s.own.Acquire(ctx, min(n, s.limit)); err != nil {
		return err
	}
	if err := s.budget.records.Acquire(ctx, min(n, s.budget.recordsLimit)); err != nil {
		s.own.Release(min(n, s.limit))
		return err
	}
	return nil
}

// give returns what take took.
func (s *share) give(n int64) {
	s.budget.records.Release(min(n, s.budget.recordsLimit))
	s.own.Release(min(n, s.limit))
}

// Admit lets an answer of the broker into memory; see fetch.Config.Admit.
func (b *Budget) Admit(ctx context.Context, size int) (release func(), err error) {
	n := min(int64(size), b.answersLimit)
	if err := b.answers.Acquire(ctx, n); err != nil {
		return nil, err
	}
	return func() { b.answers.Release(n) }, nil
}
