package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/orderhub/orderhub/services/nats-bridge/internal/forward"
)

// prepare creates or verifies the stream and the consumer, and hands on what was
// delivered before and never acknowledged.
func (s *Source) prepare(ctx context.Context) (jetstream.Consumer, error) {
	stream, err := s.stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", s.cfg.Stream, err)
	}
	info := stream.CachedInfo()
	resume := s.forward.Oldest()
	if resume == 0 && s.accepted.Load() > 0 {
		resume = s.accepted.Load() + 1
	}
	if !s.created.IsZero() && !s.created.Equal(info.Created) {
		s.log.Warn("the stream was deleted and created again; starting from its beginning")
		resume = 0
		s.accepted.Store(0)
		s.counting.Lock()
		s.counted = 0
		s.counting.Unlock()
	}
	s.created = info.Created
	s.complete.Store(slices.Equal(info.Config.Subjects, []string{s.cfg.Subject}))
	if info.Config.Retention == jetstream.WorkQueuePolicy {
		resume = 0 // it has what is not acknowledged, and nothing else
	}
	consumer, err := s.consumer(ctx, resume)
	if err != nil {
		return nil, fmt.Errorf("consumer %s: %w", s.cfg.Durable, err)
	}
	state, err := consumer.Info(ctx)
	if err != nil {
		return nil, err
	}
	s.acceptedUpTo(state.AckFloor.Stream)
	s.delivery = state.Delivered.Consumer
	if err := s.readAgain(ctx, s.accepted.Load()+1, state.Delivered.Stream); err != nil {
		return nil, err
	}
	s.acceptedUpTo(state.Delivered.Stream)
	return consumer, nil
}

func (s *Source) stream(ctx context.Context) (jetstream.Stream, error) {
	stream, err := s.js.Stream(ctx, s.cfg.Stream)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return stream, err
	}
	// A message stays until it is acknowledged, and no longer.
	stream, err = s.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: s.cfg.Stream, Subjects: []string{s.cfg.Subject}, Description: "orders for Orderhub",
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, Storage: jetstream.FileStorage,
	})
	if err != nil {
		return nil, fmt.Errorf("it does not exist and cannot be created: %w", err)
	}
	s.log.Info("stream created", zap.String("stream", s.cfg.Stream), zap.String("subject", s.cfg.Subject))
	return stream, nil
}

// consumer returns the durable consumer. One that is not there is created, to
// deliver from the sequence resume on; 0 is the beginning.
func (s *Source) consumer(ctx context.Context, resume uint64) (jetstream.Consumer, error) {
	consumer, err := s.js.Consumer(ctx, s.cfg.Stream, s.cfg.Durable)
	switch {
	case errors.Is(err, jetstream.ErrNotPullConsumer):
		return nil, errors.New("it pushes messages: set NATS_DURABLE to another name")
	case err == nil:
		return consumer, s.verify(ctx, consumer.CachedInfo().Config)
	case !errors.Is(err, jetstream.ErrConsumerNotFound):
		return nil, err
	}
	cfg, _ := s.wanted(jetstream.ConsumerConfig{Durable: s.cfg.Durable, AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: s.cfg.Subject})
	if resume > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, resume
	}
	consumer, err = s.js.CreateConsumer(ctx, s.cfg.Stream, cfg)
	if err != nil {
		return nil, fmt.Errorf("it does not exist and cannot be created: %w", err)
	}
	s.log.Info("consumer created", zap.String("consumer", s.cfg.Durable), zap.Uint64("first_sequence", resume))
	return consumer, nil
}

// verify puts a consumer's settings right that somebody else has set.
func (s *Source) verify(ctx context.Context, cfg jetstream.ConsumerConfig) error {
	subjects := slices.DeleteFunc(append([]string{cfg.FilterSubject}, cfg.FilterSubjects...), func(s string) bool { return s == "" })
	if len(subjects) == 0 && s.complete.Load() {
		subjects = []string{s.cfg.Subject}
	}
	switch {
	case cfg.AckPolicy != jetstream.AckExplicitPolicy:
		return errors.New("its ack_policy is not explicit, so messages could be lost: delete it, or set NATS_DURABLE to another name")
	case !slices.Equal(subjects, []string{s.cfg.Subject}):
		return fmt.Errorf("it reads the subjects %q (none: all), not %q: set NATS_SUBJECT, or NATS_DURABLE to another name", subjects, s.cfg.Subject)
	}
	wanted, changes := s.wanted(cfg)
	if len(changes) == 0 {
		return nil
	}
	s.log.Warn("the consumer's settings are not the bridge's; setting them", zap.Strings("found", changes))
	if _, err := s.js.UpdateConsumer(ctx, s.cfg.Stream, wanted); err != nil {
		return fmt.Errorf("its settings (%s) cannot be set right: %w", strings.Join(changes, ", "), err)
	}
	return nil
}

// wanted returns a consumer's settings as they must be, and what was wrong.
func (s *Source) wanted(cfg jetstream.ConsumerConfig) (jetstream.ConsumerConfig, []string) {
	var changes []string
	set(&changes, "max_deliver", &cfg.MaxDeliver, -1)
	set(&changes, "ack_wait", &cfg.AckWait, s.cfg.AckWait)
	set(&changes, "headers_only", &cfg.HeadersOnly, false)
	set(&changes, "inactive_threshold", &cfg.InactiveThreshold, 0)
	set(&changes, "max_batch", &cfg.MaxRequestBatch, 0)
	set(&changes, "max_expires", &cfg.MaxRequestExpires, 0)
	set(&changes, "max_bytes", &cfg.MaxRequestMaxBytes, 0)
	// More than are in flight: what a killed bridge has left waits for its
	// redelivery, and must not stop the deliveries meanwhile.
	if enough := 10 * s.cfg.MaxMessages; cfg.MaxAckPending >= 0 && cfg.MaxAckPending < enough {
		set(&changes, "max_ack_pending", &cfg.MaxAckPending, enough)
	}
	if len(cfg.BackOff) > 0 {
		changes = append(changes, fmt.Sprintf("backoff %v", cfg.BackOff))
		cfg.BackOff = nil
	}
	return cfg, changes
}

func set[T comparable](changes *[]string, name string, field *T, value T) {
	if *field != value {
		*changes = append(*changes, fmt.Sprintf("%s %v", name, *field))
		*field = value
	}
}

// check reports what can lose messages, and returns what keeps the bridge from
// working.
func (s *Source) check(ctx context.Context, consumer jetstream.Consumer) error {
	stream, err := s.js.Stream(ctx, s.cfg.Stream)
	if err != nil {
		return fmt.Errorf("stream %s: %w", s.cfg.Stream, err)
	}
	state, err := consumer.Info(ctx)
	if err != nil {
		return fmt.Errorf("consumer %s: %w", s.cfg.Durable, err)
	}
	if err := s.verify(ctx, state.Config); err != nil {
		return fmt.Errorf("consumer %s: %w", s.cfg.Durable, err)
	}
	if state.Paused {
		return fmt.Errorf("consumer %s is paused for %v", s.cfg.Durable, state.PauseRemaining.Round(time.Second))
	}
	s.metrics.pending.Set(float64(state.NumPending))
	info := stream.CachedInfo()
	problems := risks(info, state.NumPending+uint64(state.NumAckPending))
	if all := strings.Join(problems, "; "); all != s.problems {
		s.problems = all
		for _, problem := range problems {
			s.log.Warn("the stream can lose messages", zap.String("stream", s.cfg.Stream), zap.String("problem", problem))
		}
	}
	s.countLost(info.State.FirstSeq)
	return nil
}

// risks lists how the stream may drop messages before they are forwarded.
func risks(info *jetstream.StreamInfo, unforwarded uint64) (problems []string) {
	cfg, state := info.Config, info.State
	if cfg.Discard == jetstream.DiscardOld {
		if cfg.MaxMsgs > 0 || cfg.MaxBytes > 0 {
			problems = append(problems, "it is limited in size and drops the oldest when it is full; set discard=new")
		}
		full := cfg.MaxMsgs > 0 && 5*unforwarded > 4*uint64(cfg.MaxMsgs) || cfg.MaxBytes > 0 && 5*state.Bytes > 4*uint64(cfg.MaxBytes) && 2*unforwarded > state.Msgs
		if full {
			problems = append(problems, "the bridge lags so far that messages will soon be dropped")
		}
	}
	if cfg.MaxMsgsPerSubject > 0 && !cfg.DiscardNewPerSubject { // discard=new alone does not refuse them
		problems = append(problems, fmt.Sprintf("it drops the oldest of more than %d messages of a subject; set discard=new and discard_new_per_subject", cfg.MaxMsgsPerSubject))
	}
	if cfg.MaxAge > 0 {
		problems = append(problems, fmt.Sprintf("it drops messages older than %v", cfg.MaxAge))
	}
	if cfg.AllowMsgTTL || cfg.AllowRollup {
		problems = append(problems, "a publisher can have messages dropped (allow_msg_ttl, allow_rollup_hdrs)")
	}
	if cfg.Retention == jetstream.InterestPolicy {
		problems = append(problems, "its retention is interest: without the bridge's consumer it keeps nothing")
	}
	if cfg.Storage == jetstream.MemoryStorage {
		problems = append(problems, "it is stored in memory")
	}
	if cfg.NoAck {
		problems = append(problems, "it does not acknowledge what is published (no_ack)")
	}
	return problems
}

// countLost reports, once, the messages before the sequence next that were not handed on,
// where next is the first that the stream still has.
func (s *Source) countLost(next uint64) {
	s.counting.Lock()
	defer s.counting.Unlock()
	accepted := s.accepted.Load()
	from := max(accepted+1, s.counted)
	if accepted == 0 || next <= from || !s.complete.Load() {
		return
	}
	s.counted = next
	s.metrics.lost.Add(float64(next - from))
	s.log.Error("messages are lost: the stream dropped them before they were read (a limit, a purge or a deletion)",
		zap.Uint64("messages", next-from), zap.Uint64("first_sequence", from), zap.Uint64("last_sequence", next-1))
}

// stored returns the first message of the subject from a sequence on. It asks the
// stream's leader: other servers may not have the message yet.
func (s *Source) stored(ctx context.Context, sequence uint64) (forward.Message, error) {
	request, err := json.Marshal(map[string]any{"seq": sequence, "next_by_subj": s.cfg.Subject})
	if err != nil {
		return forward.Message{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	reply, err := s.conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+s.cfg.Stream, request)
	if err != nil {
		return forward.Message{}, fmt.Errorf("read message %d of the stream: %w", sequence, err)
	}
	var answer struct {
		Message *struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(reply.Data, &answer); {
	case err != nil:
		return forward.Message{}, err
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return forward.Message{}, jetstream.ErrMsgNotFound
	case answer.Error != nil:
		return forward.Message{}, answer.Error
	case answer.Message == nil:
		return forward.Message{}, jetstream.ErrInvalidJetStreamResponse
	}
	m := answer.Message
	var header nats.Header
	if len(m.Header) > 0 {
		if header, err = nats.DecodeHeadersMsg(m.Header); err != nil {
			return forward.Message{}, err
		}
	}
	return forward.Message{Stream: s.cfg.Stream, Subject: m.Subject, Sequence: m.Sequence, Time: m.Time, Header: header, Data: m.Data}, nil
}
