package rig

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"

	"github.com/orderhub/orderhub/scripts/devstack/process"
)

// Publish has orderctl publish to a topic in the background. stop ends it; it is
// an error then if it has ended by itself.
func (s *Site) Publish(topic string, arguments ...string) (stop func() error, err error) {
	cmd, err := s.orderctl(context.Background(), topic, append([]string{"publish"}, arguments...)...)
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

// Run runs orderctl on a topic to its end; an error has its output.
func (s *Site) Run(ctx context.Context, topic string, arguments ...string) error {
	cmd, err := s.orderctl(ctx, topic, arguments...)
	if err != nil {
		return err
	}
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("orderctl %s: %w\n%s", strings.Join(arguments, " "), err, out[max(0, len(out)-2000):])
	}
	return nil
}

func (s *Site) orderctl(ctx context.Context, topic string, arguments ...string) (*exec.Cmd, error) {
	cmd, err := s.command(ctx, "orderctl", s.kafka(topic)...)
	if err != nil {
		return nil, err
	}
	cmd.Args = append(cmd.Args, arguments...)
	return cmd, nil
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
