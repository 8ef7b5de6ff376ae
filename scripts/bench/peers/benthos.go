package peers

import (
	"context"
	_ "embed" // the program
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/orderhub/orderhub/libs/orderdb"
	"github.com/orderhub/orderhub/scripts/devstack/gobuild"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/must"
)

// benthosMain is Benthos with only the components that are measured.
//
//go:embed benthos.go.txt
var benthosMain []byte

// benthos are Benthos 4.27, the last release under the MIT License of what is now Redpanda
// Connect, in its two ways: sql_insert into each table, and a batch as one jsonb that a
// function stores.
func (b *Benchmark) benthos(ctx context.Context) []contender {
	binary := must.Get(gobuild.Binary(ctx, gobuild.Program{Name: "benthos", Module: "github.com/benthosdev/benthos/v4", Version: "v4.27.0", Main: benthosMain}))
	way := func(name string, prepare []string, batch int, output func(database string) object) contender {
		return contender{name: "Benthos, " + name, foreign: true, prepare: prepare, daemon: func(t *trial) *process.Daemon {
			config := filepath.Join(t.site.Folder, t.name+".json") // JSON is YAML
			must.Succeed(os.WriteFile(config, must.Get(json.Marshal(t.benthosConfig(batch, output(t.database)))), 0o600))
			return process.NewDaemon("benthos", filepath.Join(t.site.Folder, t.name+".log"), func() *exec.Cmd {
				return exec.CommandContext(context.Background(), binary, "-c", config)
			})
		}}
	}
	// A statement may have 65,535 parameters.
	rows := min(benthosBatch, 60_000/len(known(orderdb.Items.Table))/b.Items)
	return []contender{way("sql_insert", nil, rows, sqlInsert), way("a jsonb a batch", []string{storeOrders}, benthosBatch, sqlRaw)}
}

type object = map[string]any

// benthosConfig has broken records sent to a topic of their own. It is tuned by batches.
func (t *trial) benthosConfig(batch int, output object) object {
	brokers := []string{t.site.Broker.Addr}
	return object{
		"http": object{"enabled": false}, "logger": object{"level": "WARN"},
		"input": object{"kafka_franz": object{
			"seed_brokers": brokers, "topics": []string{t.topic}, "consumer_group": t.group, "commit_period": "1s",
			"checkpoint_limit": 4 * batch, "batching": object{"count": batch, "period": "20ms"},
		}},
		"pipeline": object{"processors": []object{
			{"mapping": `root = if this.order_uid.type() != "string" { throw("no order_uid") }`},
		}},
		"output": object{"switch": object{"cases": []object{
			{"check": "errored()", "output": object{"kafka_franz": object{"seed_brokers": brokers, "topic": t.dlq}}},
			{"output": output},
		}}},
	}
}

const benthosBatch = 2000

func sqlRaw(database string) object {
	return object{"sql_raw": object{
		"driver": "postgres", "dsn": database, "query": "SELECT store_orders($1::jsonb)", "args_mapping": "root = [ content().string() ]", "max_in_flight": 2,
	}, "processors": []object{{"archive": object{"format": "json_array"}}}}
}

func sqlInsert(database string) object {
	var outputs []object
	for _, part := range []struct {
		table *orderdb.Table
		path  string
		items []object // processors
	}{
		{orderdb.Orders.Table, "this", nil},
		{orderdb.Deliveries.Table, "this.delivery", nil},
		{orderdb.Payments.Table, "this.payment", nil},
		{orderdb.Items.Table, "this", []object{
			{"mapping": "let uid = this.order_uid\nroot = this.items.enumerated().map_each(i -> i.value.assign({\"order_uid\": $uid, \"position\": i.index}))"},
			{"unarchive": object{"format": "json_array"}},
		}},
	} {
		values := []string{"this.order_uid"}
		for _, column := range known(part.table)[1:] {
			values = append(values, part.path+"."+column)
		}
		output := object{"sql_insert": object{
			"driver": "postgres", "dsn": database, "table": part.table.Name, "columns": known(part.table),
			"args_mapping": fmt.Sprintf("root = [ %s ]", strings.Join(values, ", ")), "suffix": "ON CONFLICT DO NOTHING", "max_in_flight": 2,
		}}
		if part.items != nil {
			output["processors"] = part.items
		}
		outputs = append(outputs, output)
	}
	return object{"broker": object{"pattern": "fan_out_sequential", "outputs": outputs}} // a part's order comes first
}
