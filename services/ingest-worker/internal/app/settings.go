package app

import (
	"errors"
	"fmt"
	"time"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/platform/config"
)

// Settings of the worker.
type Settings struct {
	Kafka    config.Kafka
	Database config.Database
	Log      config.Log

	AdminAddr string `env:"ADMIN_ADDR" envDefault:"127.0.0.1:9080" help:"where /livez, /readyz, /metrics and pprof are"`

	TopicPartitions  int           `env:"KAFKA_TOPIC_PARTITIONS" envDefault:"4" help:"partitions of a topic that the worker creates"`
	TopicReplication int           `env:"KAFKA_TOPIC_REPLICATION" envDefault:"-1" help:"replicas of a topic that the worker creates (-1: the broker's default)"`
	SessionTimeout   time.Duration `env:"KAFKA_SESSION_TIMEOUT" envDefault:"10s" help:"how long the group waits for a silent worker"`
	TopicWatch       time.Duration `env:"KAFKA_TOPIC_WATCH_INTERVAL" envDefault:"30s" help:"how often to look for new partitions"`

	MaxRecordBytes int           `env:"INGEST_MAX_RECORD_BYTES" envDefault:"1048576" help:"largest record in bytes; a larger one is a dead letter"`
	MaxItems       int           `env:"INGEST_MAX_ITEMS" envDefault:"1000" help:"most items of an order"`
	RejectUnknown  bool          `env:"INGEST_REJECT_UNKNOWN_FIELDS" envDefault:"false" help:"true: a field that an order does not have makes a dead letter"`
	CheckSums      bool          `env:"INGEST_CHECK_SUMS" envDefault:"false" help:"true: sums that do not add up make a dead letter"`
	BatchBusy      int           `env:"INGEST_BATCH_BUSY_RECORDS" envDefault:"8" help:"a batch of so many records indicates load: the next one waits for the period"`
	BatchRecords   int           `env:"INGEST_BATCH_RECORDS" envDefault:"1000" help:"records that flush a batch before the period has passed"`
	BatchBytes     int64         `env:"INGEST_BATCH_BYTES" envDefault:"0" help:"bytes of keys and values that flush a batch likewise (0: no limit)"`
	BatchPeriod    time.Duration `env:"INGEST_BATCH_PERIOD" envDefault:"40ms" help:"time between two batches of a partition under load (0: batches never wait)"`
	MaxBatch       int           `env:"INGEST_MAX_BATCH_RECORDS" envDefault:"4000" help:"most records in one transaction"`
	MemoryBytes    int64         `env:"INGEST_MEMORY_BYTES" envDefault:"104857600" help:"bound on the bytes of records in flight"`

	DatabaseConns int           `env:"DATABASE_MAX_CONNS" envDefault:"4" help:"most connections to PostgreSQL"`
	WriteTimeout  time.Duration `env:"DATABASE_WRITE_TIMEOUT" envDefault:"30s" help:"bound on one transaction; doubled while the database is slower"`
	Retention     time.Duration `env:"DELETIONS_RETENTION" envDefault:"24h" help:"how long the table of deletions remembers"`

	StopTimeout time.Duration `env:"STOP_TIMEOUT" envDefault:"10s" help:"how long a stop may take"`
}

// Validate names the variables whose values cannot be used.
func (s *Settings) Validate() error {
	return errors.Join(
		config.ListenAddr("ADMIN_ADDR", s.AdminAddr),
		between("KAFKA_TOPIC_PARTITIONS", s.TopicPartitions, 1, 10_000),
		between("KAFKA_SESSION_TIMEOUT", s.SessionTimeout, time.Second, 30*time.Minute),
		between("KAFKA_TOPIC_WATCH_INTERVAL", s.TopicWatch, 100*time.Millisecond, 24*time.Hour),
		between("INGEST_MAX_RECORD_BYTES", s.MaxRecordBytes, 1<<10, 64<<20),
		between("INGEST_MAX_ITEMS", s.MaxItems, 1, 100_000),
		between("INGEST_BATCH_BUSY_RECORDS", s.BatchBusy, 1, 100_000),
		between("INGEST_BATCH_RECORDS", s.BatchRecords, 1, 100_000),
		between("INGEST_BATCH_BYTES", s.BatchBytes, 0, 1<<40),
		between("INGEST_BATCH_PERIOD", s.BatchPeriod, 0, 10*time.Second),
		between("INGEST_MAX_BATCH_RECORDS", s.MaxBatch, 1, 100_000),
		between("INGEST_MEMORY_BYTES", s.MemoryBytes, 1<<20, 1<<40),
		between("DATABASE_MAX_CONNS", s.DatabaseConns, 1, 100),
		between("DATABASE_WRITE_TIMEOUT", s.WriteTimeout, time.Second, time.Hour),
		between("DELETIONS_RETENTION", s.Retention, time.Second, 365*24*time.Hour),
		between("STOP_TIMEOUT", s.StopTimeout, time.Second, time.Hour),
	)
}

func between[T int | int64 | time.Duration](name string, value, least, most T) error {
	if value < least || value > most {
		return fmt.Errorf("%s: %v is not from %v to %v", name, value, least, most)
	}
	return nil
}

// batch returns the limits of a partition's batches.
func (s *Settings) batch() batch.Limits {
	return batch.Limits{Busy: s.BatchBusy, Count: s.BatchRecords, Bytes: s.BatchBytes, Period: s.BatchPeriod}
}
