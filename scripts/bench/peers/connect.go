package peers

import (
	"context"
	_ "embed" // the archives, the transformation
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/orderhub/orderhub/scripts/devstack/apachekafka"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// connectPOM says what Kafka Connect and its JDBC sink are made of.
//
//go:embed connect.pom.xml
var connectPOM []byte

// orderRow makes a row of an order. Kafka Connect's own transformations read no JSON
// without a schema, and have no way to keep a list, such as an order's items.
//
//go:embed OrderRow.java
var orderRow []byte

const connectTasks, connectHeap = 2, "1g"

// connect are Apache Kafka's Connect with Debezium's JDBC sink, into one table, and into
// four by a trigger on that table.
func (b *Benchmark) connect(ctx context.Context) []contender {
	distribution := must.Get(apachekafka.FetchPOM(ctx, "kafka-connect", connectPOM))
	classes := filepath.Join(b.site.Folder, "classes")
	source := filepath.Join(b.site.Folder, "OrderRow.java")
	must.Succeed(os.WriteFile(source, orderRow, 0o600))
	must.Succeed(distribution.Compile(ctx, source, classes))
	daemon := func(t *trial) *process.Daemon {
		worker, connector := filepath.Join(t.site.Folder, t.name+".worker"), filepath.Join(t.site.Folder, t.name+".connector")
		must.Succeed(apachekafka.WriteProperties(worker, t.connectWorker()))
		must.Succeed(apachekafka.WriteProperties(connector, t.connector()))
		return process.NewDaemon("kafka connect", filepath.Join(t.site.Folder, t.name+".log"), func() *exec.Cmd {
			cmd := distribution.Java(connectHeap, "org.apache.kafka.connect.cli.ConnectStandalone", []string{worker, connector}, classes)
			cmd.Args = slices.DeleteFunc(cmd.Args, func(argument string) bool { // which start a short test quickly, and cost speed
				return argument == "-XX:TieredStopAtLevel=1" || argument == "-XX:+UseSerialGC"
			})
			return cmd
		})
	}
	one := contender{name: "Kafka Connect, one flat table", foreign: true, flat: true, members: connectTasks, group: "connect-", prepare: flatTable, daemon: daemon}
	four := one
	four.name, four.flat, four.prepare = "Kafka Connect, four tables", false, append(slices.Clone(flatTable), spreading...)
	return []contender{one, four}
}

func (t *trial) connectWorker() map[string]string {
	return map[string]string{
		"bootstrap.servers":            t.site.Broker.Addr,
		"listeners":                    "http://" + ports.Loopback(must.Get(ports.Free())),
		"key.converter":                "org.apache.kafka.connect.storage.StringConverter",
		"value.converter":              "org.apache.kafka.connect.storage.StringConverter",
		"offset.storage.file.filename": filepath.Join(t.site.Folder, t.name+".offsets"),
		"offset.flush.interval.ms":     "1000",
		"consumer.auto.offset.reset":   "earliest",
		"consumer.max.poll.records":    "2000",
		"consumer.session.timeout.ms":  "10000",
	}
}

func (t *trial) connector() map[string]string {
	database := must.Get(url.Parse(t.database))
	password, _ := database.User.Password()
	var columns []string
	for _, f := range fields {
		kind := "text"
		if f.number {
			kind = "number"
		}
		columns = append(columns, f.flat+" "+kind+" "+f.pointer)
	}
	return map[string]string{
		"name":            t.name,
		"connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
		"tasks.max":       fmt.Sprint(connectTasks),
		"topics":          t.topic,
		// A string may be of any type of column, and a batch becomes one statement.
		"connection.url":                                  "jdbc:postgresql://" + database.Host + database.Path + "?stringtype=unspecified&reWriteBatchedInserts=true",
		"connection.username":                             database.User.Username(),
		"connection.password":                             password,
		"connection.restart.on.errors":                    "true",
		"use.reduction.buffer":                            "true", // which a statement with several rows needs
		"insert.mode":                                     "upsert",
		"primary.key.mode":                                "record_value",
		"primary.key.fields":                              "order_uid",
		"schema.evolution":                                "none",
		"collection.name.format":                          "flat",
		"batch.size":                                      "2000",
		"errors.tolerance":                                "all",
		"errors.deadletterqueue.topic.name":               t.dlq,
		"errors.deadletterqueue.topic.replication.factor": "1",
		"transforms":                                      "row",
		"transforms.row.type":                             "OrderRow",
		"transforms.row.columns":                          strings.Join(append(columns, "items json /items"), ","),
	}
}
