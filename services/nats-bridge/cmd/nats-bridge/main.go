// Command nats-bridge takes orders from NATS into the Kafka topic of the orders.
package main

import (
	"os"

	"github.com/orderhub/orderhub/services/nats-bridge/internal/app"
)

func main() { os.Exit(app.Main(os.Args[1:], os.Stdout, os.Stderr)) }
