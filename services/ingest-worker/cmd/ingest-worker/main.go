// Command ingest-worker takes orders from Kafka into PostgreSQL.
package main

import (
	"os"

	"github.com/orderhub/orderhub/services/ingest-worker/internal/app"
)

func main() { os.Exit(app.Main(os.Args[1:], os.Stdout, os.Stderr)) }
