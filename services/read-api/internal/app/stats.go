package app

import (
	"time"

	"github.com/orderhub/orderhub/libs/platform/buildinfo"
	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/gcpacer"
	"github.com/orderhub/orderhub/services/read-api/internal/httpapi"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

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
