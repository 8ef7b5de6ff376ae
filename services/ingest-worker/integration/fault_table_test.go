package integration

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Each line of the table of faults, as PostgreSQL itself reports it: a trigger
// refuses an order in the middle of others with the SQLSTATE that the table
// faulty names.
func TestEachSQLStateOfTheFaultTable(t *testing.T) {
	b := setup(t, 1)
	b.exec(`CREATE TABLE faulty (code text)`)
	// What a sequence gives is not rolled back with the transaction that failed.
	b.exec(`CREATE SEQUENCE refusals`)
	b.exec(`GRANT SELECT ON faulty TO PUBLIC; GRANT USAGE ON refusals TO PUBLIC`) // the trigger has the worker's rights
	b.exec(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		DECLARE fault text := (SELECT code FROM public.faulty);
		BEGIN
			IF fault IS NOT NULL AND NEW.order_uid LIKE 'bad%' THEN
				PERFORM nextval('public.refusals');
				RAISE EXCEPTION USING ERRCODE = fault, MESSAGE = 'as the test has it';
			END IF;
			RETURN NEW;
		END $$`)
	b.exec(`CREATE TRIGGER refuse BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse()`)
	refuse := func(code string) { b.exec(`INSERT INTO faulty VALUES ($1)`, code) }
	accept := func() { b.exec(`DELETE FROM faulty`) }
	offset := 0
	produce := func(code string) (bad int) {
		b.produce(0, order(t, "before-"+code, "1"), order(t, "bad-"+code, "1"), order(t, "behind-"+code, "1"))
		offset += 3
		return offset - 2
	}
	others := func(code string) {
		t.Helper()
		require.NotEmpty(t, b.stored("before-"+code))
		require.NotEmpty(t, b.stored("behind-"+code))
	}
	w := b.startWorker()

	records := []string{"22003", "22021", "23502", "23503", "23514", "54000"}
	for _, code := range records {
		refuse(code)
		bad := produce(code)
		b.drained()
		others(code)
		require.Empty(t, b.stored("bad-"+code))
		require.Equal(t, "refused_by_database", b.letterOf(0, bad).Headers["dlq-reason"], code)
		accept()
	}

	// Those of class 40 that pass are tried again at once; these don't pass.
	for _, c := range []struct{ code, cause string }{
		{"08006", "database"}, {"25006", "database_read_only"}, {"25P02", "database"}, {"28P01", "database_login"}, {"42501", "database_rights"},
		{"40001", "database"}, {"40003", "database"}, {"40P01", "database"}, {"53100", "database_resources"}, {"53300", "database_resources"},
		{"55P03", "database"}, {"57014", "database"}, {"57P01", "database"}, {"58030", "database"}, {"XX000", "database"},
		{"P0001", "unknown"}, {"99999", "unknown"},
	} {
		refuse(c.code)
		produce(c.code)
		b.blocked(w, c.cause)
		accept()
		b.drained()
		others(c.code)
		require.NotEmpty(t, b.stored("bad-"+c.code))
	}
	require.Len(t, b.letters(), len(records), "nothing but what was the record's own fault")

	for _, code := range []string{"42P01", "42703", "3D000", "3F000", "0A000"} {
		refuse(code)
		produce(code)
		require.Equal(t, 1, b.ended(w).ExitCode, code)
		w.stop()
		accept()
		w = b.startWorker()
		b.drained()
		others(code)
		require.NotEmpty(t, b.stored("bad-"+code))
	}
	require.Len(t, b.letters(), len(records))
}

// A unique index of somebody's own refuses a record with the same SQLSTATE as a
// race for the orders' key. That does not end, and the record is a dead letter.
func TestAUniqueIndexOfSomebodysOwnRefusesARecord(t *testing.T) {
	b := setup(t, 1)
	b.exec(`CREATE UNIQUE INDEX ON orders (internal_signature)`)
	b.produce(0, order(t, "a", "1"), order(t, "b", "2"))
	b.startWorker()
	b.drained()
	b.produce(0, order(t, "c", "3"), order(t, "d", "1"), order(t, "e", "4"), order(t, "b", "2"))
	b.drained()
	require.Equal(t, 4, b.count("orders"))
	require.Len(t, b.letters(), 1)
	l := b.letterOf(0, 3)
	require.Equal(t, "refused_by_database", l.Headers["dlq-reason"])
	require.Contains(t, l.Headers["dlq-errors"], "orders_internal_signature_idx")
}
