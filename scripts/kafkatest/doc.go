// Package kafkatest runs the real binaries on Apache Kafka itself, with one
// broker and with three. `make test-kafka` does it; it needs Java and Maven.
package kafkatest
