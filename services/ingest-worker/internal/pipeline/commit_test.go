package pipeline

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// slowCommitter answers each request when the test says so.
type slowCommitter struct {
	requests chan map[int]int64
	answers  chan error
}

func (c *slowCommitter) CommitOffsets(offsets map[string]map[int]int64) error {
	c.requests <- offsets["orders"]
	return <-c.answers
}

// Partitions that commit while a request is under way share the next one, and its error.
func TestPartitionsCommitTogether(t *testing.T) {
	committer := &slowCommitter{make(chan map[int]int64), make(chan error)}
	c := &commits{topic: "orders", committer: committer}
	results := make([]error, 4)
	var all sync.WaitGroup
	commit := func(partition int) { all.Go(func() { results[partition] = c.commit(map[int]int64{partition: 10}) }) }
	commit(0)
	require.Equal(t, map[int]int64{0: 10}, <-committer.requests)
	for partition := 1; partition < 4; partition++ {
		commit(partition)
	}
	require.Eventually(t, func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.next != nil && len(c.next.offsets) == 3
	}, 10*time.Second, time.Millisecond)
	committer.answers <- nil
	require.Equal(t, map[int]int64{1: 10, 2: 10, 3: 10}, <-committer.requests)
	refused := errors.New("refused")
	committer.answers <- refused
	all.Wait()
	require.Equal(t, []error{nil, refused, refused, refused}, results)
	require.Nil(t, c.next)
}
