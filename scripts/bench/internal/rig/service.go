package rig

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
)

const readyPolling = 20 * time.Millisecond

// Service is one of the project's programs, running.
type Service struct {
	Admin   string // host:port of metrics and pprof
	name    string
	process *process.Process
	log     *os.File
}

// StartService starts a program from the folder of binaries with the given
// settings, and an admin port of its own. Its log goes to a file in folder.
func StartService(binaries, name, folder string, environment ...string) (*Service, error) {
	port, err := ports.Free()
	if err != nil {
		return nil, err
	}
	program, err := find(binaries, name)
	if err != nil {
		return nil, err
	}
	s := &Service{name: name, Admin: ports.Loopback(port)}
	if s.log, err = os.CreateTemp(folder, name+"-*.log"); err != nil {
		return nil, err
	}
	cmd := exec.Command(program)
	cmd.Dir = folder // no .env of the caller's
	cmd.Env = append(os.Environ(), append(environment, "ADMIN_ADDR="+s.Admin)...)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if s.process, err = process.Start(cmd, syscall.SIGKILL); err != nil {
		_ = s.log.Close()
		return nil, err
	}
	return s, nil
}

// find gives the program's full name, since it runs in another folder.
func find(binaries, name string) (string, error) {
	program, err := filepath.Abs(filepath.Join(binaries, name))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(program); err != nil {
		return "", fmt.Errorf("%s is not there: run `make build` first (%w)", filepath.Join(binaries, name), err)
	}
	return program, nil
}

// Pid is the process id.
func (s *Service) Pid() int { return s.process.Pid() }

// WaitReady returns when the service says that it is ready.
func (s *Service) WaitReady(ctx context.Context) error {
	last := errors.New("no answer yet")
	for {
		err := s.ready(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-time.After(readyPolling):
		case <-s.process.Done():
			return fmt.Errorf("%s ended: %w\n%s", s.name, s.process.Err(), s.tail())
		case <-ctx.Done():
			return fmt.Errorf("%s does not get ready (%w): %w\n%s", s.name, ctx.Err(), last, s.tail())
		}
	}
}

func (s *Service) ready(ctx context.Context) error {
	body, err := s.get(ctx, "/readyz")
	if err != nil {
		return err
	}
	return body.Close()
}

// Metrics reads metrics by name and labels as they stand in the text, such as
// orderhub_ingest_records_total{outcome="stored"}. One that is missing is 0.
func (s *Service) Metrics(ctx context.Context) (map[string]float64, error) {
	body, err := s.get(ctx, "/metrics")
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	return parseMetrics(body)
}

func parseMetrics(text io.Reader) (map[string]float64, error) {
	values := map[string]float64{}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, number, found := cutLast(lines.Text(), " ")
		if !found || strings.HasPrefix(name, "#") {
			continue
		}
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return nil, fmt.Errorf("metric %s: %w", name, err)
		}
		values[name] = value
	}
	return values, lines.Err()
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// Profile takes a profile from pprof, such as profile?seconds=5, into a file.
func (s *Service) Profile(ctx context.Context, what, file string) error {
	body, err := s.get(ctx, "/debug/pprof/"+what)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, body)
	return errors.Join(err, out.Close())
}

func (s *Service) get(ctx context.Context, path string) (io.ReadCloser, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Admin+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
		_ = response.Body.Close()
		return nil, fmt.Errorf("%s of %s answers %s: %s", path, s.name, response.Status, body)
	}
	return response.Body, nil
}

// tail is the end of the log.
func (s *Service) tail() string {
	content, err := os.ReadFile(s.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-2000):])
}

// Stop ends the service and removes its log.
func (s *Service) Stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := s.process.Stop(ctx, syscall.SIGTERM)
	return errors.Join(err, s.log.Close(), os.Remove(s.log.Name()))
}
