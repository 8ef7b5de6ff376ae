package app

import (
	"time"

	"github.com/orderhub/orderhub/services/read-api/internal/cache"
	"github.com/orderhub/orderhub/services/read-api/internal/httpapi"
	"github.com/orderhub/orderhub/services/read-api/internal/orders"
)

// store is what the settings say about the cache's memory.
func (s *Settings) store() cache.StoreOptions {
	return cache.StoreOptions{Bytes: s.CacheBytes, Compress: s.CacheCompression == compressionZstd}
}

// stats gathers the figures of /api/v1/stats.
func stats(s *Settings, c *cache.Cache, reflector *cache.Reflector, through *orders.ReadThrough) httpapi.Stats {
	now, memory, loop := time.Now(), c.Stats(), reflector.Stats()
	answer := httpapi.Stats{
		Orders: memory.Orders, Bytes: memory.Bytes, BudgetBytes: s.CacheBytes, Compression: s.CacheCompression,
		Synced: memory.Synced, Complete: memory.Complete, Evicted: memory.Evicted,
		StalenessSeconds: memory.Staleness.Seconds(),
		Rounds:           loop.Rounds, Changes: loop.Changes, Relists: loop.Relists,
		RestoredOrders: loop.Restore.Orders, RestoreSeconds: loop.Restore.Duration.Seconds(),
		ReadThroughs: through.Reads(),
	}
	if memory.Synced {
		answer.LastTailBeganAt = now.Add(-memory.Staleness).UTC()
	}
	return answer
}
