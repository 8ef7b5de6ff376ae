package cli

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/ingest/rules"
	"github.com/orderhub/orderhub/libs/platform/audit"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
	"github.com/orderhub/orderhub/services/orderctl/internal/doctor"
)

type doctorSettings struct {
	Kafka    config.Kafka
	Workers  groupSettings
	Database config.Database
	Rules    rules.Settings
	Audit    audit.Settings
	API      apiSettings
}

func (a *app) doctorCommand() *cobra.Command {
	var s doctorSettings
	var flags kafkaFlags
	var o doctor.Options
	var strict bool
	cmd := a.command("doctor", &s, nil, func(cmd *cobra.Command, _ []string) (err error) {
		for i, address := range o.Admin {
			if o.Admin[i], err = baseAddress("--admin", address); err != nil {
				return err
			}
		}
		if o.API != "" {
			if o.API, err = baseAddress("--api", o.API); err != nil {
				return err
			}
		}
		if o.Timeout < time.Second || o.Timeout > 5*time.Minute {
			return usagef("--timeout: %v is not from 1s to 5m", o.Timeout)
		}
		if o.Client, err = flags.options(&s.Kafka); err != nil {
			return err
		}
		o.Kafka, o.Group, o.Database, o.Audit = s.Kafka, s.Workers.Group, s.Database, s.Audit
		o.MaxRecordBytes, o.Token = s.Rules.MaxRecordBytes, s.API.Token
		return a.doctor(cmd.Context(), o, strict)
	})
	flags.registerOrders(cmd)
	cmd.Flags().StringVar(&o.API, "api", "http://127.0.0.1:8081", "address of the read API; empty: do not ask it")
	cmd.Flags().StringSliceVar(&o.Admin, "admin", nil, "addresses of admin ports, such as http://worker:9080,http://read-api:9081")
	cmd.Flags().DurationVar(&o.Timeout, "timeout", 10*time.Second, "how long one check may take")
	cmd.Flags().BoolVar(&strict, "strict", false, "fail for warnings, too")
	return cmd
}

// baseAddress checks an address of a program, and takes off a slash at its end.
func baseAddress(flag, address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return "", usagef("%s: %q is no address such as http://127.0.0.1:8081", flag, address)
	}
	return strings.TrimSuffix(address, "/"), nil
}

func (a *app) doctor(ctx context.Context, o doctor.Options, strict bool) error {
	db, err := openDatabase(o.Database)
	if err != nil {
		return err
	}
	defer func() { _ = db.pool.Close() }()
	o.KafkaError = func(err error) error { return explainKafka(&o.Kafka, err) }
	o.DatabaseError = db.explain
	findings, err := doctor.Run(ctx, o)
	if err != nil {
		return err
	}
	counts := map[doctor.Severity]int{}
	for _, f := range findings {
		counts[f.Severity]++
		if err := a.print(f, findingText(f)); err != nil {
			return err
		}
	}
	a.say("%s, %s, %s; %d ok", dlqview.Plural(counts[doctor.Error], "error"), dlqview.Plural(counts[doctor.Warning], "warning"),
		dlqview.Plural(counts[doctor.Notice], "notice"), counts[doctor.OK])
	if counts[doctor.Error] > 0 || strict && counts[doctor.Warning] > 0 {
		return failed()
	}
	return nil
}

func findingText(f doctor.Finding) string {
	name := strings.Join(slices.DeleteFunc([]string{f.Check, f.Name}, func(s string) bool { return s == "" }), ".")
	line := fmt.Sprintf("%-8s %s", f.Severity, name)
	for _, detail := range []string{f.About, f.Evidence} {
		if detail != "" {
			line += ": " + dlqview.Clean(detail)
		}
	}
	if f.Advice != "" {
		line += "\n         " + dlqview.Clean(f.Advice)
	}
	return line + "\n"
}
