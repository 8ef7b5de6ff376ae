package cli

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/orderhub/orderhub/services/orderctl/internal/doctor"
)

type doctorSettings struct {
	doctor.Options
	Workers groupSettings
	Reader  apiSettings
}

func (a *app) doctorCommand() *cobra.Command {
	var s doctorSettings
	var flags kafkaFlags
	var strict bool
	cmd := a.command("doctor", &s, nil, func(cmd *cobra.Command, _ []string) error {
		for _, address := range slices.Concat(s.Admin, strings.Fields(s.API)) {
			if err := checkAddress("--api, --admin", address); err != nil {
				return err
			}
		}
		s.Group, s.Token = s.Workers.Group, s.Reader.Token
		var err error
		if s.Client, err = a.brokers(&flags, &s.Kafka, kgo.RetryTimeout(s.Timeout/2), kgo.RequestTimeoutOverhead(s.Timeout/2)); err != nil {
			return err
		}
		return a.doctor(cmd.Context(), &s.Options, strict)
	})
	flags.registerOrders(cmd)
	cmd.Flags().StringVar(&s.API, "api", "http://127.0.0.1:8081", "address of the read API; empty: do not ask it")
	cmd.Flags().StringSliceVar(&s.Admin, "admin", nil, "addresses of admin ports, such as http://worker:9080,http://read-api:9081")
	cmd.Flags().DurationVar(&s.Timeout, "timeout", 10*time.Second, "how long one check may take")
	cmd.Flags().BoolVar(&strict, "strict", false, "fail for warnings, too")
	return cmd
}

func checkAddress(flag, address string) error {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return usagef("%s: %q is no address such as http://127.0.0.1:8081", flag, address)
	}
	return nil
}

func (a *app) doctor(ctx context.Context, o *doctor.Options, strict bool) error {
	db, err := a.openDatabase(o.Database)
	if err != nil {
		return err
	}
	o.DB = db.pool
	o.Explain = map[string]func(error) error{"postgres": db.explain, "kafka": func(err error) error { return explainKafka(&o.Kafka, err) }}
	counts := map[string]int{}
	for _, f := range doctor.Run(ctx, o) {
		counts[string(f.Severity)]++
		if err := a.show(f, "finding.txt"); err != nil {
			return err
		}
	}
	a.say("%s", summary("examined", counts))
	if counts["error"] > 0 || strict && counts["warning"] > 0 {
		return failed()
	}
	return nil
}
