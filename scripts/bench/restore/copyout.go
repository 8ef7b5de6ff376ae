package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/orderhub/orderhub/libs/orderdb"
)

// copyOut reads the four tables one after another by binary COPY, and throws
// away what comes.
func copyOut(ctx context.Context, database string) (sample, error) {
	began := time.Now()
	conn, err := pgx.Connect(ctx, database)
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, t := range orderdb.Tables {
		statement := fmt.Sprintf("COPY %s (%s) TO STDOUT (FORMAT binary)", t.Name, strings.Join(t.Columns, ", "))
		if _, err := conn.PgConn().CopyTo(ctx, io.Discard, statement); err != nil {
			return sample{}, fmt.Errorf("%s: %w", statement, err)
		}
	}
	return sample{took: time.Since(began)}, nil
}
