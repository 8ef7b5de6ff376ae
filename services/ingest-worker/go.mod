module github.com/orderhub/orderhub/services/ingest-worker

go 1.26.0

require (
	github.com/orderhub/orderhub/libs/deadletter v0.0.0
	github.com/orderhub/orderhub/libs/model v0.0.0
	github.com/orderhub/orderhub/libs/orderdb v0.0.0
	github.com/orderhub/orderhub/libs/platform v0.0.0
	github.com/orderhub/orderhub/migrations v0.0.0
)

require (
	github.com/jackc/pgpassfile v1.0.0 // indirect
	github.com/jackc/pgservicefile v0.0.0-20240606120523-5a60cdf6a761 // indirect
	github.com/jackc/pgx/v5 v5.12.0 // indirect
	github.com/jinzhu/inflection v1.0.0 // indirect
	github.com/klauspost/compress v1.20.3 // indirect
	github.com/pierrec/lz4/v4 v4.1.33 // indirect
	github.com/prometheus/client_golang v1.25.0 // indirect
	github.com/puzpuzpuz/xsync/v3 v3.5.1 // indirect
	github.com/segmentio/kafka-go v0.4.51 // indirect
	github.com/stretchr/testify v1.12.1 // indirect
	github.com/tmthrgd/go-hex v0.0.0-20190904060850-447a3041c3bc // indirect
	github.com/uptrace/bun v1.3.0 // indirect
	github.com/vmihailenco/msgpack/v5 v5.4.1 // indirect
	github.com/vmihailenco/tagparser/v2 v2.0.0 // indirect
	go.uber.org/dig v1.19.0 // indirect
	go.uber.org/fx v1.24.0 // indirect
	go.uber.org/goleak v1.3.0 // indirect
	go.uber.org/multierr v1.11.0 // indirect
	go.uber.org/zap v1.28.0 // indirect
	golang.org/x/sync v0.24.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/text v0.43.0 // indirect
)

replace (
	github.com/orderhub/orderhub/libs/deadletter => ../../libs/deadletter
	github.com/orderhub/orderhub/libs/model => ../../libs/model
	github.com/orderhub/orderhub/libs/orderdb => ../../libs/orderdb
	github.com/orderhub/orderhub/libs/platform => ../../libs/platform
	github.com/orderhub/orderhub/migrations => ../../migrations
)
