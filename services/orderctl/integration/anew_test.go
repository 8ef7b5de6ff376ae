package integration

import (
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/scripts/devstack/broker"
)

// A view knows whether it is behind, and that its topic was made anew. The console then
// reads the topic again.
func TestATopicThatIsMadeAnew(t *testing.T) {
	w := newWorld(t)
	w.letters(2)
	c := consoleOn(t, w, nil)
	c.person().page("/letters", "6 letters")

	view := w.scan()
	requireBehind := func(want bool) {
		t.Helper()
		behind, err := view.Behind(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, behind)
	}
	requireBehind(false)
	w.fail(&kgo.Record{Topic: orders, Offset: 9, Value: []byte("v")}, "invalid")
	requireBehind(true)
	require.NoError(t, view.Refresh(t.Context()))
	requireBehind(false)

	admin, err := kgo.NewClient(kgo.SeedBrokers(w.broker.Addr()))
	require.NoError(t, err)
	defer admin.Close()
	request := kmsg.NewPtrDeleteTopicsRequest()
	request.TopicNames = []string{dlqTopic}
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = new(dlqTopic)
	request.Topics = append(request.Topics, topic)
	_, err = request.RequestWith(t.Context(), admin)
	require.NoError(t, err)
	require.NoError(t, w.broker.CreateTopics(t.Context(), map[string]broker.Topic{dlqTopic: {Partitions: partitions}}))
	_, err = view.Behind(t.Context())
	require.ErrorIs(t, err, dlq.ErrRecreated)
	other := &world{t: t, client: newClient(t, w.broker)} // w's knows the topic by its old id
	other.fail(&kgo.Record{Topic: orders, Offset: 3, Value: []byte("anew")}, "invalid")
	c.person().page("/letters", "1 letter<")
}
