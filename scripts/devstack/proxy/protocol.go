package proxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
)

// Protocol is what the proxied server speaks.
type Protocol int

// The protocols. Both must be spoken without TLS.
const (
	Kafka Protocol = iota
	Postgres
)

// requests returns a function that reads the next request of one connection.
func (p Protocol) requests(from io.Reader) func() ([]byte, error) {
	r := bufio.NewReaderSize(from, 32<<10)
	if p == Kafka {
		return func() ([]byte, error) {
			return read(r, 4, func(head []byte) int { return 4 + int(binary.BigEndian.Uint32(head)) })
		}
	}
	started := false // before, messages have no type
	return func() ([]byte, error) {
		if started {
			return read(r, 5, func(head []byte) int { return 1 + int(binary.BigEndian.Uint32(head[1:])) })
		}
		const protocolVersion = 3 // else it is a request for TLS or a cancellation
		request, err := read(r, 8, func(head []byte) int { return int(binary.BigEndian.Uint32(head)) })
		started = err == nil && binary.BigEndian.Uint16(request[4:]) == protocolVersion
		return request, err
	}
}

// read reads a request whose size its first bytes, the head, tell.
func read(r io.Reader, head int, size func(head []byte) int) ([]byte, error) {
	beginning := make([]byte, head)
	if _, err := io.ReadFull(r, beginning); err != nil {
		return nil, err
	}
	request := make([]byte, max(head, size(beginning)))
	copy(request, beginning)
	_, err := io.ReadFull(r, request[head:])
	return request, err
}

// KafkaKey matches Kafka's requests of a kind, by their key.
func KafkaKey(key int16) func(request []byte) bool {
	return func(request []byte) bool {
		return len(request) >= 6 && int16(binary.BigEndian.Uint16(request[4:])) == key
	}
}

// PostgresCommit matches the statement that commits a transaction.
func PostgresCommit(request []byte) bool {
	return len(request) > 5 && request[0] == 'Q' && bytes.EqualFold(bytes.TrimRight(request[5:], "\x00; "), []byte("commit"))
}

// PostgresData matches what COPY sends.
func PostgresData(request []byte) bool { return len(request) > 0 && request[0] == 'd' }
