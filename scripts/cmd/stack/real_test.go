package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/internal/binaries"
)

const repository = "../../.."

// built is the folder of the real programs, made once for all tests.
var built struct {
	once sync.Once
	dir  string
	err  error
}

// realBinaries is a folder with the stack and the services that every user can
// reach. TestMain removes it.
func realBinaries(t *testing.T) string {
	t.Helper()
	built.once.Do(func() { built.dir, built.err = build() })
	require.NoError(t, built.err)
	return built.dir
}

func build() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "orderhub-stack-test-bin-"); err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return dir, err
	}
	return dir, binaries.Build(dir, "./scripts/cmd/stack")
}

// get returns the status and body of a path of the API's.
func (s *site) get(t *testing.T, path string) (int, string) {
	t.Helper()
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get("http://" + s.http + path)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

// requireOrder waits until the API has the order.
func (s *site) requireOrder(t *testing.T, uid string) {
	t.Helper()
	require.Eventually(t, func() bool {
		status, body := s.get(t, "/order/"+uid)
		return status == http.StatusOK && strings.Contains(body, `"order_uid":"`+uid+`"`)
	}, patience, 20*time.Millisecond, "the API never had order %s", uid)
}

// requireConsole sees the console beside the API, linked by the API's page, and
// with the token that is printed.
func (s *site) requireConsole(t *testing.T, p *stackProcess) {
	t.Helper()
	address := "http://" + portAfter(s.http, 1)
	_, page := s.get(t, "/?uid=nosuch")
	require.Regexp(t, `href="`+address+`/?\?q=nosuch"`, page)
	found := regexp.MustCompile(`Token of the console +(\S+)`).FindStringSubmatch(p.out.String())
	require.NotNil(t, found)
	require.Contains(t, p.out.String(), address)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.PostForm(address+"/login", url.Values{"token": {found[1]}, "actor": {"ann"}})
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusSeeOther, response.StatusCode)
	require.NotEmpty(t, response.Cookies())
}

// requireRoles sees that no program is connected as the database's owner.
func (s *site) requireRoles(t *testing.T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.databaseURL())
	require.NoError(t, err)
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	var users []string
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT array_agg(DISTINCT usename::text) FROM pg_stat_activity
		WHERE datname = 'orders' AND pid <> pg_backend_pid() AND backend_type = 'client backend'`).Scan(&users))
	require.Subset(t, users, []string{"orderhub_writer", "orderhub_reader"})
	require.NotContains(t, users, "orders")
	var owner string
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT tableowner FROM pg_tables WHERE tablename = 'orders'").Scan(&owner))
	require.Equal(t, "orderhub_migrate", owner)
}

func (s *site) countOrders(t *testing.T) (n int) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.databaseURL())
	require.NoError(t, err)
	defer func() { _ = conn.Close(ctx) }()
	require.NoError(t, conn.QueryRow(ctx, "SELECT count(*) FROM orders").Scan(&n))
	return n
}

// publish runs orderctl as a person would and returns the orders' uids.
func (s *site) publish(t *testing.T, arguments ...string) []string {
	t.Helper()
	cmd := exec.Command(filepath.Join(s.binaries, "orderctl"), append([]string{"publish"}, arguments...)...)
	cmd.Dir = s.dir
	cmd.Env = append(s.environment(), fmt.Sprintf("KAFKA_BROKERS=127.0.0.1:%d", s.kafka))
	output, err := cmd.Output()
	require.NoError(t, err)
	return strings.Fields(string(output))
}

func TestWholeStackRunsTwiceAndSurvivesAKill(t *testing.T) {
	for _, a := range accounts(t) {
		t.Run(a.name, func(t *testing.T) {
			s := newSite(t, a, realBinaries(t))
			s.extra = []string{"NATS=1"}
			p := s.start(t)
			toNATS := fmt.Sprintf("nats://127.0.0.1:%d/orders", s.nats)
			require.Contains(t, p.out.String(), "orderctl publish --count 5 --to "+toNATS)
			s.requireOrder(t, sampleUID)
			require.Eventually(t, func() bool { return s.countOrders(t) == 21 }, patience, 20*time.Millisecond)
			s.requireConsole(t, p)
			s.requireRoles(t)
			s.requireMetrics(t)
			p.stop(t, syscall.SIGINT)
			require.NotContains(t, p.out.String(), "postgres | ERROR")

			p = s.start(t)
			s.requireOrder(t, sampleUID)
			require.Equal(t, 21, s.countOrders(t))
			s.requireOrder(t, s.publish(t, "--to", toNATS)[0])
			descendants := p.descendants(t)
			require.NoError(t, p.cmd.Process.Kill())
			p.requireEnd(t)

			p = s.start(t)
			requireGone(t, descendants)
			s.requireOrder(t, sampleUID)
			uids := s.publish(t, "--count", "3")
			require.Len(t, uids, 3)
			for _, uid := range uids {
				s.requireOrder(t, uid)
			}
			require.Equal(t, 25, s.countOrders(t), "orders of former runs were stored again, or lost")
			s.requireOrder(t, s.publish(t, "--to", toNATS)[0])
			p.stop(t, syscall.SIGTERM)
		})
	}
}

func TestTwoStacksRunSideBySide(t *testing.T) {
	one, two := newSite(t, account{}, realBinaries(t)), newSite(t, account{}, realBinaries(t))
	first, second := one.launch(t), two.launch(t)
	first.waitReady(t)
	second.waitReady(t)
	uid := two.publish(t, "--count", "1")[0]
	two.requireOrder(t, uid)
	status, _ := one.get(t, "/order/"+uid)
	require.Equal(t, http.StatusNotFound, status)
	first.stop(t, syscall.SIGTERM)
	two.requireOrder(t, sampleUID)
	second.stop(t, syscall.SIGTERM)
}
