package fetch

import (
	"encoding/binary"
	"testing"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The request and the answer are as another implementation of the protocol reads and
// writes them.
func TestATopicsID(t *testing.T) {
	sent := metadataRequest(7, "client", "orders")
	require.EqualValues(t, len(sent)-4, binary.BigEndian.Uint32(sent))
	want := kmsg.NewPtrMetadataRequest()
	want.SetVersion(metadataWithIDs)
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = new("orders")
	want.Topics = append(want.Topics, topic)
	require.Equal(t, kmsg.NewRequestFormatter(kmsg.FormatterClientID("client")).AppendRequest(nil, want, 7), sent)

	answer := kmsg.NewPtrMetadataResponse()
	answer.SetVersion(metadataWithIDs)
	broker := kmsg.NewMetadataResponseBroker()
	broker.Host, broker.Rack = "broker", new("rack")
	broker.UnknownTags.Set(9, []byte("more"))
	answer.Brokers = append(answer.Brokers, broker, kmsg.NewMetadataResponseBroker())
	answer.ClusterID = new("cluster")
	found := kmsg.NewMetadataResponseTopic()
	found.Topic = new("orders")
	found.TopicID = [16]byte{0x12, 0x34, 5: 0xff, 15: 0xab}
	answer.Topics = append(answer.Topics, found)
	data := answer.AppendTo([]byte{0, 0, 0, 7, 0})
	id, err := parseTopicID(data, 7)
	require.NoError(t, err)
	require.Equal(t, "12340000-00ff-0000-0000-0000000000ab", id)

	_, err = parseTopicID(data, 8)
	require.ErrorIs(t, err, errMalformed)
	upToID := len(data) - len(answer.AppendTo(nil)) // whatever is cut off, it does not panic
	for n := upToID; n < len(data); n++ {
		if _, err := parseTopicID(data[:n], 7); err != nil {
			require.ErrorIs(t, err, errMalformed)
		}
	}
	answer.Topics[0].ErrorCode = int16(kafka.UnknownTopicOrPartition)
	_, err = parseTopicID(answer.AppendTo([]byte{0, 0, 0, 7, 0}), 7)
	require.ErrorIs(t, err, kafka.UnknownTopicOrPartition)
}
