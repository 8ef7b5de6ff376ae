package proxy

import (
	"bytes"
	"encoding/binary"
)

// Protocol is what the proxied server speaks.
type Protocol int

// The protocols. PostgreSQL must be spoken without TLS, and so must Kafka.
const (
	Kafka Protocol = iota
	Postgres
)

// requests returns a function for one connection that says how long the first
// request in the client's bytes is; 0 where there is too little to say.
func (p Protocol) requests() func([]byte) int {
	if p == Kafka {
		return kafkaRequest
	}
	started := false
	return func(b []byte) int {
		if started {
			return postgresMessage(b)
		}
		n, begins := postgresStart(b)
		started = begins && n <= len(b)
		return n
	}
}

func kafkaRequest(b []byte) int {
	if len(b) < 4 {
		return 0
	}
	return 4 + int(binary.BigEndian.Uint32(b))
}

// postgresStart is for the messages without a type at the beginning of a
// connection; begins says whether typed ones follow.
func postgresStart(b []byte) (n int, begins bool) {
	const protocolVersion = 3
	if len(b) < 8 {
		return 0, false
	}
	return int(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint16(b[4:]) == protocolVersion
}

func postgresMessage(b []byte) int {
	if len(b) < 5 {
		return 0
	}
	return 1 + int(binary.BigEndian.Uint32(b[1:]))
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
