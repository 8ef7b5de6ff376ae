package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Copied is a letter that comes from elsewhere, to be put into the topic as it
// is. Topic and partition of its records are filled in.
type Copied struct {
	ID string
	// Partition is where it stood; it gets another if the topic has not as many.
	Partition  int32
	Letter     *kgo.Record
	Resolution *kgo.Record // nil: none
}

// Insert writes letters with their resolutions, the resolutions first: where it
// fails in between no letter is open that was not.
func (s *Store) Insert(ctx context.Context, letters []Copied) error {
	if s.opts.Foreign != "" {
		return errors.New("letters cannot be put into a topic that others write")
	}
	partitions, err := s.client.Partitions(ctx, s.opts.Topic)
	if err != nil {
		return err
	}
	var first, then []*kgo.Record
	for _, l := range letters {
		partition := l.Partition
		if partition < 0 || partition >= partitions {
			partition = partitionOf(l.ID, partitions)
		}
		l.Letter.Topic, l.Letter.Partition = s.opts.Topic, partition
		then = append(then, l.Letter)
		if l.Resolution != nil {
			l.Resolution.Topic, l.Resolution.Partition = s.opts.Topic, partition
			first = append(first, l.Resolution)
		}
	}
	for _, records := range [][]*kgo.Record{first, then} {
		for _, p := range s.client.Produce(ctx, records...) {
			if p.Err != nil {
				return p.Err
			}
		}
	}
	return nil
}

// partitionOf is the partition that an id decides.
func partitionOf(id string, partitions int32) int32 {
	sum := sha256.Sum256([]byte(id))
	return int32(binary.BigEndian.Uint32(sum[:]) % uint32(partitions))
}
