package apachekafka

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
)

// replicated is how many replicas topics have in a cluster that has enough
// brokers.
const replicated = 3

// WriteProperties writes a file of settings in Java's form.
func WriteProperties(file string, settings map[string]string) error {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s=%s\n", name, strings.ReplaceAll(settings[name], `\`, `\\`))
	}
	return os.WriteFile(file, []byte(text.String()), 0o600)
}

// settings are server.properties: what makes a cluster on one machine, quick to
// notice a death, to compact and to delete, and small.
func (b *Broker) settings() map[string]string {
	options := b.cluster.options
	replicas := min(options.Brokers, replicated)
	settings := map[string]string{
		"process.roles":                  "broker,controller",
		"node.id":                        fmt.Sprint(b.ID),
		"log.dirs":                       filepath.Join(b.dir, "data"),
		"auto.create.topics.enable":      "false",
		"default.replication.factor":     fmt.Sprint(replicas),
		"unclean.leader.election.enable": "false",

		"offsets.topic.replication.factor":         fmt.Sprint(replicas),
		"offsets.topic.num.partitions":             "6",
		"transaction.state.log.replication.factor": fmt.Sprint(replicas),
		"transaction.state.log.min.isr":            fmt.Sprint(max(1, replicas-1)),
		"transaction.state.log.num.partitions":     "3",

		// A broker that is silent so long is taken for dead, and one that was
		// killed is let in again after it.
		"broker.session.timeout.ms":    "4000",
		"broker.heartbeat.interval.ms": "500",
		"replica.lag.time.max.ms":      "4000",

		"group.initial.rebalance.delay.ms": "0",
		"group.min.session.timeout.ms":     "1000",

		"log.initial.task.delay.ms":       "500",
		"log.retention.check.interval.ms": "500",
		"log.cleaner.backoff.ms":          "200",
		"log.cleaner.min.cleanable.ratio": "0.001",
		"log.segment.delete.delay.ms":     "500",

		"log.cleaner.dedupe.buffer.size": "8388608",
		"log.index.size.max.bytes":       "1048576",
		"num.network.threads":            "2",
		"num.io.threads":                 "4",
		"background.threads":             "2",

		"ssl.keystore.type":                 "PEM",
		"ssl.keystore.location":             b.cluster.Certificates.Server,
		"ssl.truststore.type":               "PEM",
		"ssl.truststore.location":           b.cluster.Certificates.Authority,
		"listener.name.tls.ssl.client.auth": "required",

		"sasl.enabled.mechanisms":    "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
		"inter.broker.listener.name": string(Plain),
		"controller.listener.names":  string(controller),
	}
	b.addListeners(settings)
	maps.Copy(settings, options.Settings)
	return settings
}

func (b *Broker) addListeners(settings map[string]string) {
	var listen, advertised, mapped, voters []string
	for _, l := range listeners {
		listen = append(listen, fmt.Sprintf("%s://%s", l.name, ports.Loopback(b.ports[l.name])))
		mapped = append(mapped, fmt.Sprintf("%s:%s", l.name, l.protocol))
		if l.name != controller {
			advertised = append(advertised, fmt.Sprintf("%s://%s", l.name, b.Addr(l.name)))
		}
	}
	for _, other := range b.cluster.Brokers {
		voters = append(voters, fmt.Sprintf("%d@%s", other.ID, ports.Loopback(other.ports[controller])))
	}
	settings["listeners"] = strings.Join(listen, ",")
	settings["advertised.listeners"] = strings.Join(advertised, ",")
	settings["listener.security.protocol.map"] = strings.Join(mapped, ",")
	settings["controller.quorum.voters"] = strings.Join(voters, ",")
	b.addLogins(settings, SASL)
	b.addLogins(settings, SASLTLS)
}

// addLogins lets users in at a listener. Kafka keeps the SCRAM credentials
// itself; those of PLAIN stand here.
func (b *Broker) addLogins(settings map[string]string, listener Listener) {
	prefix := "listener.name." + strings.ToLower(string(listener)) + "."
	plain := "org.apache.kafka.common.security.plain.PlainLoginModule required"
	for _, user := range slices.Sorted(maps.Keys(b.cluster.options.Users)) {
		plain += fmt.Sprintf(" user_%s=%q", user, b.cluster.options.Users[user])
	}
	settings[prefix+"plain.sasl.jaas.config"] = plain + ";"
	for _, mechanism := range []string{"scram-sha-256", "scram-sha-512"} {
		settings[prefix+mechanism+".sasl.jaas.config"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
	}
}
