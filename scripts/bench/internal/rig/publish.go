package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/orderhub/orderhub/scripts/devstack/process"
)

// Publish has orderctl publish to a topic in the background. stop ends it; it is
// an error then if it has ended by itself.
func Publish(binaries, folder string, b *Broker, topic string, arguments ...string) (stop func() error, err error) {
	cmd, err := publishCommand(binaries, folder, b, topic, arguments...)
	if err != nil {
		return nil, err
	}
	running, err := process.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return nil, err
	}
	return func() error {
		select {
		case <-running.Done():
			return fmt.Errorf("orderctl publish ended by itself: %w", running.Err())
		default:
		}
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		return running.Stop(ctx, syscall.SIGINT)
	}, nil
}

func publishCommand(binaries, folder string, b *Broker, topic string, arguments ...string) (*exec.Cmd, error) {
	program, err := find(binaries, "orderctl")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, append([]string{"publish"}, arguments...)...)
	cmd.Dir = folder // no .env of the caller's
	cmd.Env = append(os.Environ(), "KAFKA_BROKERS="+b.Addr, "KAFKA_TOPIC="+topic)
	return cmd, nil
}

// Run runs orderctl to its end; an error has what it said.
func Run(ctx context.Context, binaries string, s *Site, topic string, arguments ...string) error {
	program, err := find(binaries, "orderctl")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, arguments...)
	cmd.Dir = s.Folder
	cmd.Env = append(os.Environ(), "KAFKA_BROKERS="+s.Broker.Addr, "KAFKA_TOPIC="+topic, "KAFKA_DLQ_TOPIC="+topic+".dlq", "KAFKA_GROUP="+topic)
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // it was killed for that
	case err != nil:
		return fmt.Errorf("orderctl %s: %w\n%s", strings.Join(arguments, " "), err, out[max(0, len(out)-2000):])
	}
	return nil
}

// ExitCode is that of a program whose end an error tells of; -1 if it tells of
// something else.
func ExitCode(err error) int {
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return ended.ExitCode()
	}
	return -1
}
