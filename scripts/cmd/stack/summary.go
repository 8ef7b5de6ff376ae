package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/orderhub/orderhub/libs/platform/config"
)

const sampleUID = "b563feb7b2b84b6test"

// summary is a table of what is where, and what to try next.
func (st *stack) summary() string {
	api := "http://" + local(st.settings.HTTPAddr)
	database := config.Secret(st.databaseURL).String()
	if st.settings.embeddedDatabase() {
		database = st.databaseURL // its password is no secret
		if host := st.settings.PostgresHost; host != "" {
			database = strings.Replace(database, local(":"+strconv.Itoa(st.settings.PostgresPort)), net.JoinHostPort(host, strconv.Itoa(st.settings.PostgresPort)), 1)
		}
	}
	var b strings.Builder
	b.WriteString("\n")
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(what, where string) { _, _ = fmt.Fprintf(table, "  %s\t%s\n", what, where) }
	row("Web page and API", api)
	row("API description", api+"/openapi.yaml")
	row("Dead-letter console", "http://"+local(st.settings.consoleAddr()))
	row("Token of the console", st.settings.ConsoleToken.Reveal())
	row("Kafka", st.kafkaBrokers)
	row("PostgreSQL", database)
	if st.settings.NATS {
		row("NATS", st.settings.natsURL().String()+", subject "+st.settings.NATSSubject)
		row("Bridge's metrics", "http://"+local(st.settings.bridgeAdminAddr())+"/metrics")
	}
	row("Worker's metrics", "http://"+local(st.settings.AdminAddr)+"/metrics")
	row("API's metrics", "http://"+local(st.settings.apiAdminAddr())+"/metrics")
	if st.settings.embeddedBroker() || st.settings.embeddedDatabase() {
		row("Data", st.settings.DataDir)
	}
	_ = table.Flush()

	orderctl := st.orderctl()
	b.WriteString("\nTry next, in another terminal:\n\n")
	lines := []string{
		"curl -s " + api + "/order/" + sampleUID,
		orderctl + " publish --count 5",
		orderctl + " publish --count 5 --invalid 1",
		"psql '" + database + "' -c 'SELECT order_uid, customer_id FROM orders LIMIT 5'",
	}
	if st.settings.NATS {
		lines = append(lines, st.binaries+"/orderctl publish --count 5 --to "+st.settings.natsURL().String()+"/"+st.settings.NATSSubject)
	}
	for _, line := range lines {
		b.WriteString("  " + line + "\n")
	}
	for _, warning := range st.settings.exposed() {
		b.WriteString("\n  WARNING: " + warning + ".")
	}
	b.WriteString("\nCtrl-C stops everything; the data stays.\n\n")
	return b.String()
}

// orderctl is the command as one types it, with the variables that its
// defaults don't cover.
func (st *stack) orderctl() string {
	command := st.binaries + "/orderctl"
	if st.settings.embeddedBroker() && st.settings.KafkaPort != 9092 {
		command = "KAFKA_BROKERS=" + st.kafkaBrokers + " " + command
	}
	return command
}
