package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/scripts/devstack/process"
)

const (
	readyPolling   = 100 * time.Millisecond
	readyReporting = 10 * time.Second // how often it's said what is waited for
	serviceStop    = 3 * time.Second  // then it is killed, which each service must stand anyway
)

// service is a program that runs as long as the stack does.
type service struct {
	name        string // in the log
	program     string // in the folder of binaries
	arguments   []string
	environment map[string]string // besides what all services get
	readyURL    string            // answers 200 once the service can do its work
}

// services are the programs to run, in the order in which they start; they stop
// in the reverse order.
func (s settings) services() []service {
	return []service{
		{
			name:        "worker",
			program:     "ingest-worker",
			environment: map[string]string{"ADMIN_ADDR": s.AdminAddr},
			readyURL:    "http://" + local(s.AdminAddr) + "/readyz",
		},
		{
			name:    "api",
			program: "read-api",
			environment: map[string]string{
				"ADMIN_ADDR": s.apiAdminAddr(), "HTTP_ADDR": s.HTTPAddr, "CONSOLE_URL": "http://" + local(s.consoleAddr()),
			},
			readyURL: "http://" + local(s.apiAdminAddr()) + "/readyz",
		},
		{
			name:      "console",
			program:   "orderctl",
			arguments: []string{"dlq", "ui"},
			environment: map[string]string{
				"HTTP_ADDR": s.consoleAddr(), "ORDERHUB_CONSOLE_TOKEN": s.ConsoleToken.Reveal(), "ORDERHUB_AUDIT_LOG": s.AuditLog,
			},
			readyURL: "http://" + local(s.consoleAddr()) + "/healthz",
		},
	}
}

// running is a service's process.
type running struct {
	service
	process *process.Process
}

// start runs a service and calls failed when it ends. A service that loses the
// stack to a kill is killed too: each of them stands that without harm, and
// nothing then depends on stores that are gone as well.
func (st *stack) start(s service, failed func(error)) error {
	cmd := st.command(s.program, s.environment, s.arguments...)
	log := st.out.named(s.name)
	cmd.Stdout, cmd.Stderr = log, log
	proc, err := process.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	st.running = append(st.running, running{s, proc})
	go func() {
		err := proc.Err()
		log.flush()
		failed(fmt.Errorf("%s (%s) ended by itself: %s", s.name, s.program, ending(err)))
	}()
	return nil
}

func ending(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}

// runOnce runs a program to its end. Its output goes to the log of that name;
// what it says on standard output is left out where that is for programs.
func (st *stack) runOnce(ctx context.Context, name string, stdin io.Reader, dropStdout bool, program string, arguments ...string) error {
	cmd := st.command(program, nil, arguments...)
	cmd.Stdin = stdin
	log := st.out.named(name)
	cmd.Stderr = log
	if !dropStdout {
		cmd.Stdout = log
	}
	proc, err := process.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return err
	}
	defer log.flush()
	select {
	case <-proc.Done():
	case <-ctx.Done():
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), serviceStop)
		defer cancel()
		return errors.Join(context.Cause(ctx), proc.Stop(stopCtx, syscall.SIGTERM))
	}
	if err := proc.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", program, strings.Join(arguments, " "), err)
	}
	return nil
}

// command prepares a program with the environment that all of them get. No
// context ends it: that takes a signal first, and patience.
func (st *stack) command(program string, extra map[string]string, arguments ...string) *exec.Cmd {
	own := map[string]string{
		"KAFKA_BROKERS": st.kafkaBrokers,
		"DATABASE_URL":  st.databaseURL,
	}
	if _, chosen := config.Lookup("LOG_FORMAT"); !chosen {
		own["LOG_FORMAT"] = "console"
	}
	maps.Copy(own, extra)
	cmd := exec.CommandContext(context.Background(), filepath.Join(st.binaries, program), arguments...)
	cmd.Env = os.Environ()
	for _, name := range slices.Sorted(maps.Keys(own)) {
		cmd.Env = append(cmd.Env, name+"="+own[name]) // the last one of a name counts
	}
	return cmd
}

// waitReady returns once the service says that it is ready, or when ctx ends.
func (st *stack) waitReady(ctx context.Context, s service) error {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	reported := time.Now()
	for {
		reason := probe(ctx, client, s.readyURL)
		if reason == "" {
			return nil
		}
		if time.Since(reported) > readyReporting {
			st.out.say("still waiting for %s: %s", s.name, reason)
			reported = time.Now()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(readyPolling):
		}
	}
}

// probe returns why a service isn't ready, or "".
func probe(ctx context.Context, client *http.Client, url string) string {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	response, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode == http.StatusOK {
		return ""
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, 1000))
	return response.Status + " " + strings.Join(strings.Fields(string(body)), " ")
}
