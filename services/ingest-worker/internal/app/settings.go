package app

import (
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

	TopicPartitions  int           `env:"KAFKA_TOPIC_PARTITIONS" envDefault:"4" validate:"min=1,max=10_000" help:"partitions of a topic that the worker creates"`
	TopicReplication int           `env:"KAFKA_TOPIC_REPLICATION" envDefault:"-1" help:"replicas of a topic that the worker creates (-1: the broker's default)"`
	SessionTimeout   time.Duration `env:"KAFKA_SESSION_TIMEOUT" envDefault:"10s" validate:"min=1s,max=30m" help:"how long the group waits for a silent worker"`
	TopicWatch       time.Duration `env:"KAFKA_TOPIC_WATCH_INTERVAL" envDefault:"30s" validate:"min=100ms,max=24h" help:"how often to look for new partitions"`

	LagInterval time.Duration `env:"INGEST_LAG_INTERVAL" envDefault:"5s" validate:"min=100ms,max=1h" help:"how often to ask the broker how far the group is behind, and the database whether it went back to an earlier state and whether the workers are paused"`

	Rules    rules.Settings
	Erasures erasure.Settings

	BatchBusy    int           `env:"INGEST_BATCH_BUSY_RECORDS" envDefault:"8" validate:"min=1,max=100_000" help:"a batch of so many records indicates load: the next one waits for the period"`
	BatchRecords int           `env:"INGEST_BATCH_RECORDS" envDefault:"1000" validate:"min=1,max=100_000" help:"records that flush a batch before the period has passed"`
	BatchBytes   int64         `env:"INGEST_BATCH_BYTES" envDefault:"0" validate:"min=0,max=1_099_511_627_776" help:"bytes of keys and values that flush a batch likewise (0: no limit)"`
	BatchPeriod  time.Duration `env:"INGEST_BATCH_PERIOD" envDefault:"40ms" validate:"min=0s,max=10s" help:"time between two batches of a partition under load (0: batches never wait)"`
	MaxBatch     int           `env:"INGEST_MAX_BATCH_RECORDS" envDefault:"4000" validate:"min=1,max=100_000" help:"most records in one transaction"`
	MemoryBytes  int64         `env:"INGEST_MEMORY_BYTES" envDefault:"104857600" validate:"min=1_048_576,max=1_099_511_627_776" help:"bound on the bytes of records in flight"`

	DatabaseConns int           `env:"DATABASE_MAX_CONNS" envDefault:"4" validate:"min=1,max=100" help:"most connections to PostgreSQL"`
	WriteTimeout  time.Duration `env:"DATABASE_WRITE_TIMEOUT" envDefault:"30s" validate:"min=1s,max=1h" help:"bound on one transaction; doubled while the database is slower"`
	Retention     time.Duration `env:"DELETIONS_RETENTION" envDefault:"24h" validate:"min=1s,max=8760h" help:"how long the table of deletions remembers"`

	OrdersRetention time.Duration `env:"ORDERS_RETENTION" envDefault:"0" validate:"min=0s,max=876000h" help:"age at which orders are deleted, by their date_created, such as 8760h (0: never)"`

	VersionsRetention   time.Duration `env:"VERSIONS_RETENTION" envDefault:"2160h" validate:"min=1s,max=876000h" help:"how long earlier versions of orders are kept"`
	TombstonesRetention time.Duration `env:"TOMBSTONES_RETENTION" envDefault:"2160h" validate:"min=1s,max=876000h" help:"how long deletions by records are remembered: longer than the topic keeps records"`
}

// Validate names the variable whose value cannot be used.
func (s *Settings) Validate() error { return bundb.Validate("DATABASE_URL", s.Database.URL) }

func (s *Settings) batch() batch.Limits {
	return batch.Limits{Busy: s.BatchBusy, Count: s.BatchRecords, Bytes: s.BatchBytes, Period: s.BatchPeriod}
}
