package rig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"github.com/orderhub/orderhub/libs/devstack/process"
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
