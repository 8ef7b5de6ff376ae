package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/term"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
	"github.com/orderhub/orderhub/libs/deadletter/letter"
	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
	"github.com/orderhub/orderhub/services/orderctl/internal/dlqview"
)

func (a *app) dlqCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "Look at dead letters, and deal with them",
		Long: `Look at dead letters, the records that could not be stored, and deal with them.

A letter is open until it is redriven or discarded; both can be undone. All of
this is kept in the dead-letter topic itself.

An id is topic/partition/offset/digits of the record that failed. The digits may
be left out where the rest is unique.

Personal data is masked; where a command has --reveal it is shown, and who looked
is written to the audit log.`,
		Example: `  orderctl dlq stats
  orderctl dlq list --since 2h --reason invalid
  orderctl dlq show orders/0/17
  orderctl dlq redrive --reason conflict --dry-run
  orderctl dlq edit orders/0/17
  orderctl dlq discard orders/0/17 --why 'a test'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				cmd.SetOut(a.stderr)
				return errors.Join(cmd.Help(), silent(exitUsage))
			}
			return unknownCommand(cmd, args[0])
		},
	}
	cmd.AddCommand(a.dlqListCommand(), a.dlqShowCommand(), a.dlqStatsCommand(),
		a.dlqRedriveCommand(), a.dlqEditCommand(), a.dlqDiscardCommand(), a.dlqUndoCommand(), a.dlqPurgeCommand(),
		a.dlqExportCommand(), a.dlqImportCommand(), a.dlqUICommand())
	return cmd
}

// dlqFlags say where the letters are.
type dlqFlags struct {
	brokers []string
	dlq     string
	foreign string
}

// registerOurs adds the flags of commands that are for our letters alone.
func (f *dlqFlags) registerOurs(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.brokers, "brokers", nil, "brokers, host:port,… (default: KAFKA_BROKERS)")
	cmd.Flags().StringVar(&f.dlq, "dlq-topic", "", "topic of the dead letters (default: KAFKA_DLQ_TOPIC)")
}

func (f *dlqFlags) register(cmd *cobra.Command) {
	f.registerOurs(cmd)
	cmd.Flags().StringVar(&f.foreign, "foreign", "", "topic with the letters of Kafka Connect, Spring Kafka or others,\nto look at these instead; what is done is kept in --dlq-topic")
}

// letters is an open store of letters.
type letters struct {
	*dlq.Queue
	cfg   config.Kafka
	close func()
}

func (f *dlqFlags) open() (*letters, error) {
	cfg, client, err := f.client()
	if err != nil {
		return nil, err
	}
	return &letters{dlq.New(client, dlq.Options{Topic: cfg.DLQTopic, Foreign: f.foreign}), cfg, client.Close}, nil
}

// client reads the settings and makes a client of the brokers, which connects
// when first used.
func (f *dlqFlags) client() (config.Kafka, *dlq.Client, error) {
	var s kafkaSettings
	if err := load(&s); err != nil {
		return config.Kafka{}, nil, err
	}
	cfg := s.Kafka
	if len(f.brokers) > 0 {
		cfg.Brokers = f.brokers
	}
	if f.dlq != "" {
		cfg.DLQTopic = f.dlq
	}
	if err := cfg.Validate(); err != nil {
		asFlags := strings.NewReplacer("KAFKA_BROKERS:", "--brokers:", "KAFKA_DLQ_TOPIC:", "--dlq-topic:")
		return cfg, nil, usage(errors.New(asFlags.Replace(err.Error())))
	}
	options, err := franz.Options(cfg)
	if err != nil {
		return cfg, nil, usage(err)
	}
	client, err := dlq.NewClient(options...)
	if err != nil {
		return cfg, nil, usage(err)
	}
	return cfg, client, nil
}

// explainLetters says what is wrong with the brokers or topics, and what to do.
func explainLetters(cfg config.Kafka, err error) error {
	var answer *kerr.Error
	var network *net.OpError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, dlq.ErrChanged), errors.Is(err, dlq.ErrNotFound), errors.Is(err, dlq.ErrAmbiguous), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, dlq.ErrNoTopic):
		return fmt.Errorf("%w: start the worker, which creates the topics, or run 'orderctl topics', or name others with KAFKA_TOPIC, KAFKA_DLQ_TOPIC%w", err, hidden{err})
	case errors.Is(err, dlq.ErrInterfered):
		return fmt.Errorf("%w%w", dlq.ErrInterfered, hidden{err})
	case errors.Is(err, kerr.TransactionalIDAuthorizationFailed):
		return fmt.Errorf("%w: the user %q lacks the right: undo and purge, which must not meet, need Write and Describe on the transactional id orderhub-dlq/%s", err, cfg.SASLUsername, cfg.DLQTopic)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("%w: the user %q lacks the right: reading needs Describe and Read on the dead-letter topic, dealing with letters Write on it, redriving Write on the source's topic", err, cfg.SASLUsername)
	case errors.As(err, &answer), errors.As(err, &network):
		return explainKafka(cfg, err)
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, kgo.ErrRecordRetries):
		return fmt.Errorf("%w: the topic takes no records now; what was done until then is done, run the command again for the rest", err)
	default:
		return explainKafka(cfg, err)
	}
}

// filterFlags say which letters are meant.
type filterFlags struct {
	letter.Filter
	partitions   []int
	offsets      string
	since, until string
}

func (f *filterFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.Reasons, "reason", nil, "only letters with one of these reasons, such as invalid or conflict")
	flags.StringSliceVar(&f.Stages, "stage", nil, "only letters that failed in one of these: decode, validate, conflict, write")
	flags.StringSliceVar(&f.Rules, "rule", nil, "only letters that broke one of these rules")
	flags.StringSliceVar(&f.Paths, "path", nil, "only letters that failed at one of these, such as payment.amount or items[].price")
	flags.StringSliceVar(&f.Keys, "key", nil, "only letters whose source record has one of these keys")
	flags.IntSliceVar(&f.partitions, "partition", nil, "only letters from these partitions of the source")
	flags.StringVar(&f.offsets, "offsets", "", "only letters from these offsets of the source: 100-200, 100- or -200")
	flags.StringVar(&f.since, "since", "", "only letters that failed since: 2h, 30d, 2026-01-31, or RFC 3339")
	flags.StringVar(&f.until, "until", "", "only letters that failed before: as --since")
	flags.StringVar(&f.Text, "text", "", "only letters with this text in their value")
	mustRegister(cmd.RegisterFlagCompletionFunc("stage", cobra.FixedCompletions([]string{"decode", "validate", "conflict", "write"}, cobra.ShellCompDirectiveNoFileComp)))
	mustRegister(cmd.RegisterFlagCompletionFunc("reason", cobra.FixedCompletions(knownReasons, cobra.ShellCompDirectiveNoFileComp)))
}

var knownReasons = []string{
	"conflict", "duplicate_name", "empty", "invalid", "invalid_utf8", "lone_surrogate", "not_json", "nul_character", "out_of_range",
	"pretty_printed", "refused_by_database", "tombstone", "too_deep", "too_large", "trailing_data", "unknown_field", "wrong_type",
}

// filter is what the flags say.
func (f *filterFlags) filter(now time.Time) (letter.Filter, error) {
	filter := f.Filter
	for _, p := range f.partitions {
		filter.Partitions = append(filter.Partitions, int32(p))
	}
	var err error
	if filter.Since, err = parseWhen("--since", f.since, now); err != nil {
		return filter, err
	}
	if filter.Until, err = parseWhen("--until", f.until, now); err != nil {
		return filter, err
	}
	if filter.MinOffset, filter.MaxOffset, err = letter.ParseOffsets(f.offsets); err != nil {
		return filter, usagef("--offsets: %w", err)
	}
	return filter, nil
}

// set says whether any flag limits the letters.
func (f *filterFlags) set(cmd *cobra.Command) bool {
	for _, name := range []string{"reason", "stage", "rule", "path", "key", "partition", "offsets", "since", "until", "text"} {
		if cmd.Flags().Changed(name) {
			return true
		}
	}
	return false
}

func parseWhen(flag, text string, now time.Time) (time.Time, error) {
	at, err := letter.ParseWhen(text, now)
	if err != nil {
		return at, usagef("%s: %w", flag, err)
	}
	return at, nil
}

// statusFlag is the value of --status.
func statusFlag(cmd *cobra.Command, status *string, standard letter.Status) {
	cmd.Flags().StringVar(status, "status", string(standard), "open, resolved or any")
	mustRegister(cmd.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"open", "resolved", "any"}, cobra.ShellCompDirectiveNoFileComp)))
}

func parseStatus(text string) (letter.Status, error) {
	status, err := letter.ParseStatus(text)
	if err != nil {
		return "", usagef("--status: %w", err)
	}
	return status, nil
}

// style is how stdout is written.
func (a *app) style() dlqview.Style {
	f, ok := a.stdout.(*os.File)
	if !ok || !isTerminal(a.stdout) {
		return dlqview.Style{}
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		columns = 0
	}
	return dlqview.Style{Width: columns, Color: os.Getenv("NO_COLOR") == ""}
}

// sayGaps tells of letters that were gone before they could be read.
func (a *app) sayGaps(snap *dlq.View, name string) {
	for _, gap := range snap.Gaps() {
		a.say("%s, partition %d: offsets %d to %d were removed while the topic was read: its retention.ms should be -1", name, gap.Partition, gap.From, gap.To-1)
	}
}

// defaultActor is who is at the keyboard.
func defaultActor() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "unknown"
}
