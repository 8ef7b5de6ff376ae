package main

import (
	"context"
	"fmt"
	"os"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// consumerVariable marks the process that is the bare consumer, and says where
// the broker is.
const consumerVariable = "ORDERHUB_BENCH_CONSUMER"

// runConsumer is the whole of that process, and returns false in any other.
func runConsumer() bool {
	addr := os.Getenv(consumerVariable)
	if addr == "" {
		return false
	}
	records, err := consume(context.Background(), addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "consumer:", err)
		os.Exit(1)
	}
	fmt.Println(records)
	return true
}

// consume reads the topic to its end, as franz-go does it by itself, and counts
// the records.
func consume(ctx context.Context, addr string) (records int, err error) {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topicName), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, topicName)
	if err != nil {
		return 0, err
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return records, err
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			records += len(p.Records)
			if n := len(p.Records); n > 0 && p.Records[n-1].Offset+1 >= left[p.Partition] {
				delete(left, p.Partition)
			}
		})
	}
	return records, nil
}
