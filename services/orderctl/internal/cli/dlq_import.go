package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/orderhub/orderhub/libs/deadletter/dlq"
)

func (a *app) dlqImportCommand() *cobra.Command {
	var where dlqFlags
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Put exported letters back, with their resolutions",
		Long: `Put letters back that 'orderctl dlq export --reveal' wrote as JSON lines (- is
stdin), into this topic or another: ids, headers and values are as they were, and
what was resolved is resolved. Letters that are there already stay as they are, so
an import can be run again.

Letters that others wrote cannot be imported: they are known by their places.

Exit code 3: the file has no letters.`,
		Example: `  orderctl dlq import letters.jsonl
  orderctl dlq import letters.jsonl --dlq-topic orders.dlq.copy`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("name one file, or - for stdin")
			}
			return nil
		},
		RunE: a.work(func(cmd *cobra.Command, args []string) error {
			return a.importLetters(cmd.Context(), &where, args[0])
		}),
	}
	where.registerOurs(cmd)
	a.settings[cmd] = &kafkaSettings{}
	return cmd
}

func (a *app) importLetters(ctx context.Context, where *dlqFlags, name string) error {
	file, err := a.open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // it was only read
	box, err := where.open()
	if err != nil {
		return err
	}
	defer box.close()
	imported, there := 0, 0
	var writing error
	err = box.Import(ctx, file, func(id string, was bool) {
		did := "imported"
		if imported++; was {
			did = "nothing"
			imported--
			there++
		}
		if !was || a.output == outputJSON {
			writing = errors.Join(writing, a.writeID(id, did))
		}
	})
	a.say("%s imported, %d were there already", plural(imported, "letter"), there)
	if err := errors.Join(explainImport(box, err), writing); err != nil {
		return err
	}
	if imported+there == 0 {
		return silent(exitNothing)
	}
	return nil
}

// explainImport tells what is wrong with the file from what is with the broker.
func explainImport(box *letters, err error) error {
	if errors.Is(err, dlq.ErrEntry) {
		return err
	}
	return explainLetters(box.cfg, err)
}
