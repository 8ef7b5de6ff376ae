package jetstream

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func TestWhatAStreamMayDropIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  jetstream.StreamConfig
		says string
	}{
		"the bridge's own":              {jetstream.StreamConfig{Discard: jetstream.DiscardNew, MaxMsgs: 10}, ""},
		"discard old":                   {jetstream.StreamConfig{MaxMsgs: 1000}, "drops the oldest when it is full"},
		"lags":                          {jetstream.StreamConfig{MaxMsgs: 10}, "soon be dropped"},
		"by subject":                    {jetstream.StreamConfig{MaxMsgsPerSubject: 3}, "more than 3 messages of a subject"},
		"by subject, discard new":       {jetstream.StreamConfig{Discard: jetstream.DiscardNew, MaxMsgsPerSubject: 1}, "discard_new_per_subject"},
		"by subject, discard new there": {jetstream.StreamConfig{Discard: jetstream.DiscardNew, DiscardNewPerSubject: true, MaxMsgsPerSubject: 1}, ""},
		"age":                           {jetstream.StreamConfig{MaxAge: time.Hour}, "older than 1h"},
		"age of a message":              {jetstream.StreamConfig{AllowMsgTTL: true}, "allow_msg_ttl"},
		"rollup":                        {jetstream.StreamConfig{AllowRollup: true}, "allow_rollup_hdrs"},
		"interest":                      {jetstream.StreamConfig{Retention: jetstream.InterestPolicy}, "interest"},
	} {
		said := strings.Join(risks(&jetstream.StreamInfo{Config: c.cfg}, 9), "; ")
		if c.says == "" {
			require.Empty(t, said, name)
		}
		require.Contains(t, said, c.says, name)
	}
}

func TestAConsumerWithoutASubjectIsTakenWhereThereIsNoOther(t *testing.T) {
	s := &Source{cfg: Config{Subject: "orders", MaxMessages: 1, AckWait: time.Second}}
	theirs := jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: -1, MaxAckPending: -1, AckWait: time.Second}
	require.ErrorContains(t, s.verify(t.Context(), theirs), "NATS_SUBJECT")
	s.complete.Store(true)
	require.NoError(t, s.verify(t.Context(), theirs))
	theirs.FilterSubject = "orders.eu"
	require.ErrorContains(t, s.verify(t.Context(), theirs), "NATS_SUBJECT")
	theirs.FilterSubject, theirs.FilterSubjects = "", []string{"orders"}
	require.NoError(t, s.verify(t.Context(), theirs))
	theirs.FilterSubjects = []string{"orders", "orders.eu"}
	require.ErrorContains(t, s.verify(t.Context(), theirs), "orders.eu")
}
