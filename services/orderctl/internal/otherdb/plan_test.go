package otherdb

import (
	"testing"

	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"
)

// A conversion that PostgreSQL refuses for one row would end the import.
func TestTimesOutOfRangeAreLeftAsTheyAre(t *testing.T) {
	paid, _, problem := convert(field{form: number}, "p.paid", pgtype.TimestampOID, -1)
	require.Empty(t, problem)
	require.Equal(t, "floor(extract(epoch FROM (p.paid)))::text", paid, "infinity is no bigint")
	made, note, problem := convert(field{form: timestamp}, "o.made", pgtype.Int8OID, -1)
	require.Empty(t, problem)
	require.Contains(t, note, "seconds since 1970")
	require.Equal(t, "CASE WHEN (o.made) BETWEEN -62135596800 AND 253402300799 THEN replace((to_timestamp((o.made)) AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z' ELSE (o.made)::text END", made)
}
