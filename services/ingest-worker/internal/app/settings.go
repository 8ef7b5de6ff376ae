package app

import (
	"errors"
	"time"

	"github.com/orderhub/orderhub/libs/batch"
	"github.com/orderhub/orderhub/libs/erasure"
	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
)

// Settings of the worker.
type Settings struct {
	config.Service `ADMIN_ADDR:"127.0.0.1:9080"`

	Kafka    config.Kafka
	Group    string `env:"KAFKA_GROUP" envDefault:"orderhub" help:"consumer group of the workers"`
	Database config.Database

	TopicPartitions  int           `env:"KAFKA_TOPIC_PARTITIONS" envDefault:"4" help:"partitions of a topic that the worker creates"`
	TopicReplication int           `env:"KAFKA_TOPIC_REPLICATION" envDefault:"-1" help:"replicas of a topic that the worker creates (-1: the broker's default)"`
	SessionTimeout   time.Duration `env:"KAFKA_SESSION_TIMEOUT" envDefault:"10s" help:"how long the group waits for a silent worker"`
	TopicWatch       time.Duration `env:"KAFKA_TOPIC_WATCH_INTERVAL" envDefault:"30s" help:"how often to look for new partitions"`

	LagInterval time.Duration `env:"INGEST_LAG_INTERVAL" envDefault:"5s" help:"how often to ask the broker how far the group is behind, and the database whether it went back to an earlier state and whether the workers are paused"`

	Rules    rules.Settings
	Erasures erasure.Settings

	BatchBusy    int           `env:"INGEST_BATCH_BUSY_RECORDS" envDefault:"8" help:"a batch of so many records indicates load: the next one waits for the period"`
	BatchRecords int           `env:"INGEST_BATCH_RECORDS" envDefault:"1000" help:"records that flush a batch before the period has passed"`
	BatchBytes   int64         `env:"INGEST_BATCH_BYTES" envDefault:"0" help:"bytes of keys and values that flush a batch likewise (0: no limit)"`
	BatchPeriod  time.Duration `env:"INGEST_BATCH_PERIOD" envDefault:"40ms" help:"time between two batches of a partition under load (0: batches never wait)"`
	MaxBatch     int           `env:"INGEST_MAX_BATCH_RECORDS" envDefault:"4000" help:"most records in one transaction"`
	MemoryBytes  int64         `env:"INGEST_MEMORY_BYTES" envDefault:"104857600" help:"bound on the bytes of records in flight"`

	DatabaseConns int           `env:"DATABASE_MAX_CONNS" envDefault:"4" help:"most connections to PostgreSQL"`
	WriteTimeout  time.Duration `env:"DATABASE_WRITE_TIMEOUT" envDefault:"30s" help:"bound on one transaction; doubled while the database is slower"`
	Retention     time.Duration `env:"DELETIONS_RETENTION" envDefault:"24h" help:"how long the table of deletions remembers"`

	OrdersRetention time.Duration `env:"ORDERS_RETENTION" envDefault:"0" help:"age at which orders are deleted, by their date_created, such as 8760h (0: never)"`

	VersionsRetention   time.Duration `env:"VERSIONS_RETENTION" envDefault:"2160h" help:"how long earlier versions of orders are kept"`
	TombstonesRetention time.Duration `env:"TOMBSTONES_RETENTION" envDefault:"2160h" help:"how long deletions by records are remembered: longer than the topic keeps records"`
}

// Validate names the variables whose values cannot be used.
func (s *Settings) Validate() error {
	return errors.Join(
		bundb.Validate("DATABASE_URL", s.Database.URL),
		config.Between("KAFKA_TOPIC_PARTITIONS", s.TopicPartitions, 1, 10_000),
		config.Between("KAFKA_SESSION_TIMEOUT", s.SessionTimeout, time.Second, 30*time.Minute),
		config.Between("KAFKA_TOPIC_WATCH_INTERVAL", s.TopicWatch, 100*time.Millisecond, 24*time.Hour),
		config.Between("INGEST_LAG_INTERVAL", s.LagInterval, 100*time.Millisecond, time.Hour),
		config.Between("INGEST_BATCH_BUSY_RECORDS", s.BatchBusy, 1, 100_000),
		config.Between("INGEST_BATCH_RECORDS", s.BatchRecords, 1, 100_000),
		config.Between("INGEST_BATCH_BYTES", s.BatchBytes, 0, 1<<40),
		config.Between("INGEST_BATCH_PERIOD", s.BatchPeriod, 0, 10*time.Second),
		config.Between("INGEST_MAX_BATCH_RECORDS", s.MaxBatch, 1, 100_000),
		config.Between("INGEST_MEMORY_BYTES", s.MemoryBytes, 1<<20, 1<<40),
		config.Between("DATABASE_MAX_CONNS", s.DatabaseConns, 1, 100),
		config.Between("DATABASE_WRITE_TIMEOUT", s.WriteTimeout, time.Second, time.Hour),
		config.Between("DELETIONS_RETENTION", s.Retention, time.Second, 365*24*time.Hour),
		config.Between("VERSIONS_RETENTION", s.VersionsRetention, time.Second, 100*365*24*time.Hour),
		config.Between("TOMBSTONES_RETENTION", s.TombstonesRetention, time.Second, 100*365*24*time.Hour),
		config.Between("ORDERS_RETENTION", s.OrdersRetention, 0, 100*365*24*time.Hour),
	)
}

func (s *Settings) batch() batch.Limits {
	return batch.Limits{Busy: s.BatchBusy, Count: s.BatchRecords, Bytes: s.BatchBytes, Period: s.BatchPeriod}
}
