package deploytest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

const chartValues = `
kafka: {settings: {KAFKA_BROKERS: "%[1]s", KAFKA_TOPIC_PARTITIONS: "2"}}
topics: {settings: {KAFKA_TOPIC_PARTITIONS: "2"}}
roles:
  enabled: true
  prefix: %[2]s
  secrets: {DATABASE_URL: {secret: admin, key: url}}
  passwords:
    migrate: {secret: orderhub-migrate, key: password}
    writer: {secret: orderhub-writer, key: password}
    reader: {secret: orderhub-reader, key: password}
    operator: {secret: orderhub-operator, key: password}
worker: {settings: {ADMIN_ADDR: "127.0.0.1:%[3]d"}}
api: {settings: {ADMIN_ADDR: "127.0.0.1:%[4]d", HTTP_ADDR: "127.0.0.1:%[5]d"}}
console: {settings: {ADMIN_ADDR: "127.0.0.1:%[6]d", HTTP_ADDR: "127.0.0.1:%[7]d"}}
`

// TestChartRuns starts the containers of the chart as processes: the jobs in the order of
// their weights, then the deployments. Each has exactly the arguments and the environment of its manifest,
// the image's files as its root, which it cannot write, the manifest's user, and its
// mounted secrets. Only the addresses to listen on are this machine's. Then the probes pass.
func TestChartRuns(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("ORDERHUB_TEST_STRICT") == "1" {
			t.Fatal("TestChartRuns has to be root: it changes root folders and users")
		}
		t.Skip("SKIPPED: TestChartRuns has to be root: it changes root folders and users")
	}
	database := postgres.ForTest(t)
	admin, err := url.Parse(postgres.AdminForTest(t, database))
	require.NoError(t, err)
	prefix := strings.TrimPrefix(admin.Path, "/")
	first, err := ports.Adjacent(5)
	require.NoError(t, err)
	values := write(t, fmt.Sprintf(chartValues, broker.StartForTest(t, broker.Options{}).Addr(), prefix, first, first+1, first+2, first+3, first+4))
	all, err := render(t, chart, filepath.Join(examples, "minimal.yaml"), values)
	require.NoError(t, err)

	const token = "a token of thirty-two characters"
	hash := sha256.Sum256([]byte(token))
	secrets := map[string]string{
		"admin/url": admin.String(),
		"orderhub-tokens/tokens": fmt.Sprintf("- {name: shop, scopes: [orders:read, letters:read], expires: %s, sha256: %q}\n",
			time.Now().Add(time.Hour).UTC().Format(time.RFC3339), hex.EncodeToString(hash[:])),
	}
	for _, role := range []string{"migrate", "writer", "reader", "operator"} {
		own := *admin
		own.User = url.UserPassword(prefix+"_"+role, "password of "+role)
		secrets["orderhub-"+role+"/url"] = own.String()
		secrets["orderhub-"+role+"/password"] = "password of " + role + "\n"
	}

	var jobs []manifest
	for _, m := range all {
		if m.Kind == "Job" {
			jobs = append(jobs, m)
		}
	}
	slices.SortFunc(jobs, func(a, b manifest) int { return weight(t, a) - weight(t, b) })
	for _, job := range jobs {
		output, err := containerOf(t, job, secrets).CombinedOutput()
		require.NoError(t, err, "%s: %s", job.Metadata.Name, output)
	}
	for _, program := range []string{"ingest-worker", "read-api", "console"} {
		m := all["Deployment/orders-orderhub-"+program]
		cmd := containerOf(t, m, secrets)
		log, err := os.Create(filepath.Join(t.TempDir(), program+".log"))
		require.NoError(t, err)
		cmd.Stdout, cmd.Stderr = log, log
		require.NoError(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil || t.Failed() {
				output, _ := os.ReadFile(log.Name())
				t.Errorf("%s: %v\n%s", program, err, output)
			}
		})
		c := m.Spec.Template.Spec.Containers[0]
		address := "http://" + c.environment()["ADMIN_ADDR"]
		for _, probe := range []probe{c.LivenessProbe, c.ReadinessProbe} {
			require.Eventually(t, func() bool { return status(t, address+probe.HTTPGet.Path, "") == http.StatusOK }, time.Minute, 50*time.Millisecond, "%s: %s", program, probe.HTTPGet.Path)
		}
	}
	api := fmt.Sprintf("http://127.0.0.1:%d/api/v1/stats", first+2)
	require.Equal(t, http.StatusUnauthorized, status(t, api, ""))
	require.Equal(t, http.StatusOK, status(t, api, token))
}

func weight(t *testing.T, job manifest) int {
	t.Helper()
	number, err := strconv.Atoi(job.Metadata.Annotations["helm.sh/hook-weight"])
	require.NoError(t, err)
	return number
}

// containerOf is a manifest's container as a process.
func containerOf(t *testing.T, m manifest, secrets map[string]string) *exec.Cmd {
	t.Helper()
	pod := m.Spec.Template.Spec
	c := pod.Containers[0]
	i := build(t, c.target())
	root := t.TempDir()
	require.NoError(t, os.CopyFS(root, os.DirFS(i.root)))
	for _, volume := range pod.Volumes {
		at := slices.IndexFunc(c.VolumeMounts, func(mount mount) bool { return mount.Name == volume.Name })
		require.GreaterOrEqual(t, at, 0, volume.Name)
		folder := filepath.Join(root, c.VolumeMounts[at].MountPath)
		require.NoError(t, os.MkdirAll(folder, 0o755))
		for _, source := range volume.Projected.Sources {
			for _, item := range source.Secret.Items {
				content, found := secrets[source.Secret.Name+"/"+item.Key]
				require.True(t, found, "%s: key %s of the secret %s", m.Metadata.Name, item.Key, source.Secret.Name)
				file := filepath.Join(folder, item.Path)
				require.NoError(t, os.WriteFile(file, []byte(content), 0o440))
				require.NoError(t, os.Chown(file, 0, pod.SecurityContext.FSGroup))
			}
		}
	}
	environment := maps.Clone(i.env)
	maps.Copy(environment, c.environment())
	cmd := exec.CommandContext(context.Background(), i.entrypoint[0], c.Args...)
	cmd.Dir, cmd.Env = "/", []string{}
	for name, value := range environment {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	user := pod.SecurityContext
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     root,
		Credential: &syscall.Credential{Uid: uint32(user.RunAsUser), Gid: uint32(user.RunAsGroup), Groups: []uint32{uint32(user.FSGroup)}},
		Pdeathsig:  syscall.SIGKILL,
	}
	return cmd
}

// status is the answer's status to a request, 0 without an answer.
func status(t *testing.T, address, token string) int {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, address, http.NoBody)
	require.NoError(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	defer func() { _ = answer.Body.Close() }()
	return answer.StatusCode
}
