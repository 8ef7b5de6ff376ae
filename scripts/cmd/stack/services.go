package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/httpget"
)

const (
	readyReporting = 10 * time.Second // between reports of what is waited for
	serviceStop    = 3 * time.Second  // then it is killed, which loses nothing
)

// service is a program that runs as long as the stack does.
type service struct {
	name        string // in the log
	program     string // in the folder of binaries
	admin       string // its ADMIN_ADDR, where /readyz answers 200 once it can do its work
	arguments   []string
	environment []string // besides what all services get
	*process.Daemon
}

// services are the programs to run, in the order in which they start; they stop
// in the reverse order.
func (s settings) services() []service {
	consoleURL := "http://" + dialled(s.consoleAddr(), cmp.Or(ports.Outward(), loopback)) // as others call it
	all := []service{
		{name: "worker", program: "ingest-worker", admin: s.AdminAddr},
		{name: "api", program: "read-api", admin: s.apiAdminAddr(), environment: []string{"HTTP_ADDR=" + s.HTTPAddr, "CONSOLE_URL=" + consoleURL}},
		{name: "console", program: "orderctl", admin: s.consoleAdminAddr(), arguments: []string{"dlq", "ui"}, environment: []string{
			"HTTP_ADDR=" + s.consoleAddr(), "ORDERHUB_CONSOLE_TOKEN=" + s.ConsoleToken.Reveal(), "ORDERHUB_AUDIT_FILE=" + s.AuditFile, "ORDERHUB_AUDIT_LOG=",
		}},
	}
	if s.NATS {
		all = append(all, service{name: "bridge", program: "nats-bridge", admin: s.bridgeAdminAddr(), environment: []string{"NATS_URL=" + s.natsURL().Reveal()}})
	}
	return all
}

// start runs a service and calls failed when it ends. When the stack is killed,
// its services are killed too: they lose nothing, and their stores are gone.
func (st *stack) start(s service, failed func(error)) error {
	log := st.out.named(s.name)
	s.Daemon = process.NewDaemon(s.name, "", func() *exec.Cmd {
		return st.command(s.program, append(s.environment, "ADMIN_ADDR="+s.admin), s.arguments...)
	})
	s.Log = log
	if err := s.Start(); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	st.running = append(st.running, s)
	go func() {
		ended := s.Process()
		<-ended.Done()
		log.flush()
		failed(fmt.Errorf("%s (%s) ended by itself: %w", s.name, s.program, cmp.Or(ended.Err(), errEnded)))
	}()
	return nil
}

// errEnded is how a service ends that reports no error.
var errEnded = errors.New("exit status 0")

// runOnce runs a program to its end. Its standard error goes to the log of that
// name, and with it its standard output unless dropStdout is set.
func (st *stack) runOnce(ctx context.Context, name string, stdin io.Reader, dropStdout bool, program string, arguments ...string) error {
	cmd := st.command(program, nil, arguments...)
	log := st.out.named(name)
	defer log.flush()
	cmd.Stdin, cmd.Stderr = stdin, log
	if !dropStdout {
		cmd.Stdout = log
	}
	if err := process.Run(ctx, cmd); err != nil {
		return fmt.Errorf("%s %s: %w", program, strings.Join(arguments, " "), err)
	}
	return nil
}

// command prepares a program with the environment that all of them get. No
// context ends it: it must be able to stop in order.
func (st *stack) command(program string, extra []string, arguments ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), filepath.Join(st.binaries, program), arguments...)
	// The stack has read these secrets' files, and passes on what was in them.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return name == "DATABASE_URL_FILE" || name == "NATS_URL_FILE" || name == "ORDERHUB_CONSOLE_TOKEN_FILE"
	})
	cmd.Env = append(cmd.Env, "KAFKA_BROKERS="+st.kafkaBrokers, "DATABASE_URL="+cmp.Or(st.roleURLs[program], st.databaseURL))
	if _, chosen := config.Lookup("LOG_FORMAT"); !chosen {
		cmd.Env = append(cmd.Env, "LOG_FORMAT=console")
	}
	cmd.Env = append(cmd.Env, extra...) // the last one of a name counts
	return cmd
}

func (st *stack) waitReady(ctx context.Context, s service) error {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	reported := time.Now()
	return s.WaitReady(ctx, func(ctx context.Context) error {
		_, err := httpget.OK(ctx, client, "http://"+local(s.admin)+"/readyz")
		if err != nil && time.Since(reported) > readyReporting {
			st.out.say("still waiting for %s: %v", s.name, err)
			reported = time.Now()
		}
		return err
	})
}
