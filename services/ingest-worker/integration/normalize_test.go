package integration

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/libs/deadletter"
	"github.com/orderhub/orderhub/libs/ingest"
	"github.com/orderhub/orderhub/libs/ingest/normalize"
	"github.com/orderhub/orderhub/libs/ingest/orderwrite"
	"github.com/orderhub/orderhub/libs/model"
	"github.com/orderhub/orderhub/libs/platform/bundb"
	"github.com/orderhub/orderhub/libs/platform/config"
)

// forms are records of orders in several forms of the same content.
func forms(t *testing.T) (topic [][]byte) {
	t.Helper()
	for uid, changes := range map[string][]string{
		"phone":    {`"+9720000000"`, `"+79000000000"`, `"+7 (900) 000-00-00"`, `"8-900-000-00-00"`},
		"locale":   {`"locale":"en"`, `"locale":"ru-RU"`, `"locale":"ru_RU"`},
		"currency": {`"USD"`, `"EUR"`, `"eur"`, `" EUR"`},
		"time":     {`"2021-11-26T06:22:19Z"`, `"2024-05-29T10:00:00+03:00"`, `"2024-05-29 10:00:00+0300"`, `"2024-05-29T07:00:00Z"`},
		"email":    {`"test@gmail.com"`, `"a@b.example"`, `" a@b.example\u200b"`, `"mailto:a@b.example"`},
	} {
		for i, first := range changes[1:] {
			record := func(form string) []byte {
				whole := string(order(t, uid+"-"+string(rune('a'+i)), "a"))
				require.Equal(t, 1, strings.Count(whole, changes[0]))
				return []byte(strings.Replace(whole, changes[0], form, 1))
			}
			topic = append(topic, record(first)) // each form comes first once
			for _, form := range changes[1:] {
				topic = append(topic, record(form))
			}
		}
	}
	return topic
}

// modes are the settings between which an operator may switch.
func modes(t *testing.T) map[string]*model.Codec {
	t.Helper()
	anything := func(path string) model.FieldRule {
		return model.FieldRule{Path: path, Pattern: regexp.MustCompile(`.+`)}
	}
	loose, err := model.NewRules("loose", []model.FieldRule{
		anything("delivery.phone"), anything("delivery.email"), anything("payment.currency"), anything("locale"),
	})
	require.NoError(t, err)
	n := normalize.New("RU")
	return map[string]*model.Codec{
		"off":                      model.New(model.Options{Normalizer: n}),
		"on":                       model.New(model.Options{Normalizer: n, Normalize: true}),
		"off, with loosened rules": model.New(model.Options{Normalizer: n, Rules: loose}),
		"on, with loosened rules":  model.New(model.Options{Normalizer: n, Rules: loose, Normalize: true}),
	}
}

// Whatever is normalized and was normalized before, records that are read again are
// duplicates, and so are other forms of the same content.
func TestSwitchingNormalizationMakesNoConflicts(t *testing.T) {
	b := database(t)
	db, err := bundb.Open(config.Database{URL: config.Secret(b.url)}, bundb.Options{MaxConns: 2})
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	topic := forms(t)
	run := func(codec *model.Codec) map[string]int {
		decoder := ingest.NewDecoder(codec, nil)
		var records []*ingest.Record
		for _, value := range topic {
			records = append(records, decoder.Decode(deadletter.Source{Value: value}))
		}
		require.NoError(t, ingest.Store(b.ctx, orderwrite.New(db, orderwrite.Options{Timeout: deadline, Differs: codec.Differs}), records))
		outcomes := map[string]int{}
		for _, r := range records {
			outcome := string(r.Outcome())
			if cause := r.Cause(); cause != nil {
				outcome = cause.Reason
			}
			outcomes[outcome]++
		}
		return outcomes
	}
	for before, first := range modes(t) {
		for after, second := range modes(t) {
			b.exec(`TRUNCATE orders CASCADE`)
			stored := run(first)
			require.NotZero(t, stored["stored"], before)
			require.Zero(t, stored["conflict"], before)
			for range 2 {
				again := run(second)
				require.Zero(t, again["conflict"], "%s, then %s: %v", before, after, again)
			}
			require.Zero(t, run(second)["stored"], "%s, then %s", before, after)
		}
	}
	b.exec(`TRUNCATE orders CASCADE`)
	require.Zero(t, run(modes(t)["on"])["invalid"])
	var phones, raw int
	require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT count(*) FROM deliveries WHERE phone NOT IN ('+79000000000', '+9720000000')`).Scan(&phones))
	require.Zero(t, phones, "stored normalized")
	require.NoError(t, b.db.QueryRowContext(b.ctx, `SELECT count(DISTINCT content_hash) FROM orders WHERE order_uid LIKE 'locale-%'`).Scan(&raw))
	require.Equal(t, 2, raw, "hashed raw")
}
