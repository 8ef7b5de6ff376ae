package fetch

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// metadataWithIDs is the version of Metadata that is used to ask for a topic's id. It has
// ids since version 10, and kafka-go can write version 8 at most.
const metadataWithIDs = 12

// NoTopicID is the id of topics of brokers that give them none.
const NoTopicID = "00000000-0000-0000-0000-000000000000"

// TopicID returns the topic's id as a UUID. A topic that is deleted and created again gets
// another one. Errors are as those of Offsets.
func (r *Reader) TopicID(ctx context.Context) (string, error) {
	c, err := r.leader(ctx)
	if err == nil && c.metadataVersion < metadataWithIDs {
		return NoTopicID, nil
	}
	var id string
	if err == nil {
		id, err = c.topicID(ctx, r.cfg)
	}
	if err != nil {
		return "", r.fail(ctx, "ask for the id of topic "+r.cfg.Topic, err)
	}
	return id, nil
}

func (c *conn) topicID(ctx context.Context, cfg Config) (string, error) {
	data, release, err := c.exchange(ctx, cfg, 0, envelopeBytes, func(correlation int32) error {
		_, err := c.Write(metadataRequest(correlation, c.clientID, cfg.Topic))
		return err
	})
	if err != nil {
		return "", err
	}
	defer release()
	return parseTopicID(data, c.correlation)
}

// metadataRequest is a Metadata request for one topic, with the length before it. It
// creates no topic.
func metadataRequest(correlation int32, clientID, topic string) []byte {
	const noTags, no = 0, 0
	b := binary.BigEndian.AppendUint16(make([]byte, 4), uint16(protocol.Metadata))
	b = binary.BigEndian.AppendUint16(b, metadataWithIDs)
	b = binary.BigEndian.AppendUint32(b, uint32(correlation))
	b = append(binary.BigEndian.AppendUint16(b, uint16(len(clientID))), clientID...)
	b = append(b, noTags, 1+1)         // a list of one topic
	b = append(b, make([]byte, 16)...) // named
	b = append(binary.AppendUvarint(b, uint64(len(topic))+1), topic...)
	b = append(b, noTags, no, no, noTags) // neither create it, nor tell what is allowed
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// parseTopicID reads the answer up to the first topic's id.
func parseTopicID(data []byte, correlation int32) (string, error) {
	w := wire{b: data}
	if got := w.int32(); got != correlation {
		return "", fmt.Errorf("%w: it is number %d instead of %d", errMalformed, got, correlation)
	}
	w.tags()
	w.int32()                   // throttle
	for range w.uvarint() - 1 { // brokers
		w.int32()
		w.compact() // host
		w.int32()
		w.compact() // rack
		w.tags()
		if w.short {
			break
		}
	}
	w.compact() // cluster
	w.int32()   // controller
	topics, code := w.uvarint()-1, w.int16()
	w.compact() // name
	id := w.bytes(16)
	switch {
	case w.short || topics != 1:
		return "", fmt.Errorf("%w: it lacks the topic", errMalformed)
	case code != 0:
		return "", kafka.Error(code)
	}
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]), nil
}
