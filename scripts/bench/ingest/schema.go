package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/orderhub/orderhub/scripts/bench/internal/rig"
)

// schemaContenders are raw COPY into tables that lack something. What it costs
// is the difference to the first.
func schemaContenders() []contender {
	const (
		newest      = "DROP INDEX orders_newest"
		changeXID   = "DROP INDEX orders_change_xid"
		foreignKeys = "ALTER TABLE %[1]s DROP CONSTRAINT %[1]s_order_uid_fkey"
	)
	var unlinked []string
	for _, part := range []string{"deliveries", "payments", "items"} {
		unlinked = append(unlinked, fmt.Sprintf(foreignKeys, part))
	}
	unindexed := append(slices.Clone(unlinked), newest, changeXID)
	for _, table := range []string{"orders", "deliveries", "payments", "items"} {
		unindexed = append(unindexed, fmt.Sprintf("ALTER TABLE %[1]s DROP CONSTRAINT %[1]s_pkey", table))
	}
	return []contender{
		rawCopy,
		copyInto("without orders_newest", newest),
		copyInto("without orders_change_xid", changeXID),
		copyInto("without foreign keys", unlinked...),
		copyInto("without any key or index", unindexed...),
		copyTriggers,
		{"triggers without orderhub.whole_orders", runCopyTriggersAtWork},
	}
}

// copyInto is raw COPY after statements that change the schema.
func copyInto(name string, statements ...string) contender {
	return contender{name, func(ctx context.Context, t *trial) (sample, error) {
		if err := rig.Execute(ctx, t.database, statements...); err != nil {
			return sample{}, err
		}
		return runRawCopy(ctx, t)
	}}
}

// runCopyTriggersAtWork is what any other client's COPY costs: each part stamps
// its order.
func runCopyTriggersAtWork(ctx context.Context, t *trial) (sample, error) {
	return meter{server: t.site.Server}.during(ctx, t.orders.Count, func() error {
		return t.orders.Copy(ctx, t.database, rig.CopyOptions{Conns: copyConns})
	})
}

// schema is the table of what the schema's parts cost.
func (b *runner) schema(ctx context.Context, orders *rig.Orders) error {
	contenders := schemaContenders()
	measured, err := b.rounds(ctx, orders, contenders)
	if err != nil {
		return err
	}
	var names []string
	for _, c := range contenders {
		names = append(names, c.name)
	}
	title := fmt.Sprintf("%s of %s, raw COPY into changed tables", count(orders.Count, "order"), count(orders.Items, "item"))
	return b.site.Save("ingest-schema", comparisonTable(title, names, measured).Markdown())
}
