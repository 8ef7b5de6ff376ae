package app

import (
	"errors"
	"fmt"
	"time"

	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/auth"
	"github.com/orderhub/orderhub/libs/platform/buildinfo"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/httpserver"
	"github.com/orderhub/orderhub/libs/platform/web"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/gcpacer"
	"github.com/orderhub/orderhub/services/read-api/internal/httpapi"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// Settings of the reader.
type Settings struct {
	config.Service `ADMIN_ADDR:"127.0.0.1:9081"`

	Database      config.Database
	ListenURL     config.Secret `env:"DATABASE_LISTEN_URL" help:"the primary, to listen there for notifications where DATABASE_URL is a standby (default: DATABASE_URL)"`
	ListenURLFile string        `env:"DATABASE_LISTEN_URL_FILE"`

	HTTPAddr string `env:"HTTP_ADDR" envDefault:"127.0.0.1:8081" help:"where the API and the web page are"`
	HTTP     httpserver.Settings

	Web   web.Settings
	Auth  auth.Settings
	Audit audit.Settings
	Kafka config.KafkaConn // for the audit log alone

	CacheBytes        int64         `env:"CACHE_BYTES" envDefault:"0" validate:"min=0,max=1_125_899_906_842_624" help:"most memory for orders, in bytes; the rest is read from PostgreSQL (0: no limit)"`
	CacheCompression  string        `env:"CACHE_COMPRESSION" envDefault:"off" validate:"oneof=off zstd" help:"off, or zstd: less memory, more work a request"`
	CacheMaxStaleness time.Duration `env:"CACHE_MAX_STALENESS" envDefault:"1s" validate:"min=50ms,max=1h" help:"age of the cache up to which it says that an order does not exist, and beyond which answers are marked as stale"`
	BatchBusy         int           `env:"CACHE_BATCH_BUSY_CHANGES" envDefault:"8" validate:"min=1,max=100_000" help:"a round of so many changes indicates load: the next one waits for the period"`
	BatchPeriod       time.Duration `env:"CACHE_BATCH_PERIOD" envDefault:"20ms" help:"time between two rounds of changes under load (0: rounds never wait)"`

	CheckInterval time.Duration `env:"CACHE_CHECK_INTERVAL" envDefault:"1m" validate:"min=0s,max=24h" help:"time between two comparisons of a sample of the cache with the tables (0: none)"`

	SnapshotDir      string        `env:"CACHE_SNAPSHOT_DIR" help:"folder for a file with the orders in memory, from which the next start reads them; it holds personal data, and each API needs its own (default: none)"`
	SnapshotInterval time.Duration `env:"CACHE_SNAPSHOT_INTERVAL" envDefault:"5m" validate:"min=1s,max=24h" help:"time between two saves of that file while orders change; one is also made at the stop"`

	CORSOrigins []string `env:"CORS_ORIGINS" help:"origins whose pages may read the API, such as https://shop.example or https://*.shop.example, comma-separated; * for any (default: none)"`

	StreamClients int `env:"STREAM_CLIENTS" envDefault:"10000" validate:"min=1,max=1_048_576" help:"most streams of changes that are open at a time"`

	ConsoleURL string `env:"CONSOLE_URL" validate:"omitempty,http_url" help:"address of the dead-letter console, for the page to link to (default: no link)"`

	// AnswerTimeout and PingInterval are how long connections that have fallen
	// silent are believed in. They aren't for operators: 0 means what package
	// changes has, and tests are less patient.
	AnswerTimeout, PingInterval time.Duration
}

const (
	compressionOff  = "off"
	compressionZstd = "zstd"
)

// Validate names the variables whose values cannot be used.
func (s *Settings) Validate() error {
	return errors.Join(
		bundb.Validate("DATABASE_URL", s.Database.URL),
		bundb.Validate("DATABASE_LISTEN_URL", s.ListenURL),
		config.ListenAddr("HTTP_ADDR", s.HTTPAddr),
		s.Auth.Check(s.HTTPAddr, s.Web.Behind()),
		s.period(),
		s.origins(),
	)
}

// poll is how often changes are looked for without a notification: two rounds
// fit into the staleness that is allowed.
func (s *Settings) poll() time.Duration { return s.CacheMaxStaleness * 2 / 5 }

// origins writes CORS_ORIGINS as they are compared.
func (s *Settings) origins() error {
	var errs []error
	for i, text := range s.CORSOrigins {
		origin, err := httpapi.ParseOrigin(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("CORS_ORIGINS: %q can never match: %w", text, err))
			continue
		}
		s.CORSOrigins[i] = origin
	}
	return errors.Join(errs...)
}

func (s *Settings) period() error {
	if most := s.CacheMaxStaleness / 2; s.BatchPeriod < 0 || s.BatchPeriod > most {
		return fmt.Errorf("CACHE_BATCH_PERIOD: %v is not from 0 to %v, half of CACHE_MAX_STALENESS", s.BatchPeriod, most)
	}
	return nil
}

// store is what the settings say about the cache's memory.
func (s *Settings) store() cache.StoreOptions {
	return cache.StoreOptions{Bytes: s.CacheBytes, Compress: s.CacheCompression == compressionZstd}
}

// save is what they say about the file of saved orders. A save at the stop leaves half of the
// time for the rest.
func (s *Settings) save() cache.SaveOptions {
	return cache.SaveOptions{
		Folder: s.SnapshotDir, Every: s.SnapshotInterval, Within: s.StopTimeout / 2, Build: buildinfo.Read().String(),
	}
}

// stats gathers the figures of /api/v1/stats.
func stats(s *Settings, c *cache.Cache, reflector *cache.Reflector, through *orders.ReadThrough) httpapi.Stats {
	now, held, loop := time.Now(), c.Stats(), reflector.Stats()
	answer := httpapi.Stats{
		Orders: held.Orders, Bytes: held.Bytes, JSONBytes: held.JSONBytes, BudgetBytes: s.CacheBytes,
		MemoryLimitBytes: gcpacer.Limit(), Compression: s.CacheCompression, DictionaryBytes: held.DictionaryBytes,
		Synced: held.Synced, Complete: held.Complete, Evicted: held.Evicted, Hits: held.Hits, Misses: held.Misses,
		StalenessSeconds: held.Staleness.Seconds(),
		Rounds:           loop.Rounds, Changes: loop.Changes, Relists: loop.Relists,
		RestoredOrders: loop.Restore.Orders, RestoreSeconds: loop.Restore.Duration.Seconds(),
		ReadThroughs: through.Reads(),
	}
	if held.Orders > 0 {
		answer.CompressionRatio = float64(held.JSONBytes) / float64(held.Bytes)
	}
	if held.Complete {
		answer.OrdersTotal = &held.Orders
	}
	if held.Synced {
		answer.LastTailBeganAt = now.Add(-held.Staleness).UTC()
	}
	return answer
}
