package deploytest

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/docker/go-units"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/orderhub/orderhub/scripts/devstack/certificates"
	"github.com/orderhub/orderhub/scripts/devstack/gobuild"
)

//go:embed chart/main.go.txt
var chartProgram []byte

// chartChecker renders the chart and checks its objects against the types of Kubernetes
// and of the custom resources.
var chartChecker = sync.OnceValues(func() (string, error) {
	return gobuild.Binary(context.Background(), gobuild.Program{
		Name: "chart", Module: "helm.sh/helm/v3", Version: "v3.22.0", Main: chartProgram,
		Requires: []string{
			"github.com/kedacore/keda/v2@v2.21.0",
			"github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring@v0.95.2",
			"sigs.k8s.io/gateway-api@v1.6.0",
			"k8s.io/client-go@v0.37.2",
			"k8s.io/apimachinery@v0.37.2",
		},
	})
})

var chart, examples = inRepository("deploy", "helm", "orderhub"), inRepository("deploy", "helm", "examples")

// manifest is what the tests look at of any Kubernetes object.
type manifest struct {
	Kind     string
	Metadata struct {
		Name        string
		Labels      map[string]string
		Annotations map[string]string
	}
	Data map[string]string
	Spec struct {
		Template podTemplate
		Selector selector
		Groups   []any
		Ports    []struct {
			TargetPort string `yaml:"targetPort"`
		}
		ScaleTargetRef struct{ Kind, Name string } `yaml:"scaleTargetRef"`
		Replicas       *int
	}
}

// selector is a Deployment's, or a Service's, which has no matchLabels.
type selector struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
	Rest        map[string]any    `yaml:",inline"`
}

type podTemplate struct {
	Metadata struct {
		Labels, Annotations map[string]string
	}
	Spec struct {
		TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
		SecurityContext               struct {
			RunAsNonRoot bool `yaml:"runAsNonRoot"`
			RunAsUser    int  `yaml:"runAsUser"`
			RunAsGroup   int  `yaml:"runAsGroup"`
			FSGroup      int  `yaml:"fsGroup"`
		} `yaml:"securityContext"`
		Containers []container
		Volumes    []struct {
			Name      string
			Projected struct {
				Sources []struct {
					Secret    projection
					ConfigMap projection `yaml:"configMap"`
				}
			}
		}
	}
}

// projection is a key of a Secret or a ConfigMap as a file of a volume.
type projection struct {
	Name  string
	Items []struct{ Key, Path string }
}

type mount struct {
	Name      string
	MountPath string `yaml:"mountPath"`
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

type container struct {
	Image string
	Args  []string
	Env   []struct{ Name, Value string }
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	LivenessProbe   probe `yaml:"livenessProbe"`
	ReadinessProbe  probe `yaml:"readinessProbe"`
	Resources       struct{ Requests, Limits map[string]string }
	VolumeMounts    []mount `yaml:"volumeMounts"`
	SecurityContext struct {
		AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
	} `yaml:"securityContext"`
}

// environment is what the container gets.
func (c container) environment() map[string]string {
	all := map[string]string{}
	for _, variable := range c.Env {
		all[variable.Name] = variable.Value
	}
	return all
}

// target is the container's image, as the Dockerfile calls it.
func (c container) target() string {
	name, _, _ := strings.Cut(c.Image[strings.LastIndex(c.Image, "/")+1:], ":")
	name, _, _ = strings.Cut(name, "@")
	return name
}

// render returns the chart's objects by kind and name.
func render(t *testing.T, folder string, values ...string) (map[string]manifest, error) {
	t.Helper()
	checker, err := chartChecker()
	require.NoError(t, err)
	cmd := exec.Command(checker, append([]string{folder}, values...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, errors.New(stderr.String())
	}
	all := map[string]manifest{}
	for decoder := yaml.NewDecoder(&stdout); ; {
		var m manifest
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		if m.Kind != "" {
			require.NotContains(t, all, m.Kind+"/"+m.Metadata.Name)
			all[m.Kind+"/"+m.Metadata.Name] = m
		}
	}
}

// example renders the chart with the values of an example.
func example(t *testing.T, name string) map[string]manifest {
	t.Helper()
	all, err := render(t, chart, filepath.Join(examples, name+".yaml"))
	require.NoError(t, err)
	return all
}

// write writes values into a file of their own.
func write(t *testing.T, values string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "values.yaml")
	require.NoError(t, os.WriteFile(file, []byte(values), 0o600))
	return file
}

func TestChartExamples(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(examples, "*.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	certificate, err := certificates.Make(t.TempDir())
	require.NoError(t, err)
	// What files hold, by the settings that name them.
	contents := map[string]string{
		"DATABASE_URL_FILE": "postgres://someone@db/orders", "HTTP_TOKENS_FILE": "[]",
		"HTTP_SESSION_KEY_FILE": strings.Repeat("k", 32), "INGEST_RULES_FILE": "fields: {}",
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			all := example(t, name)
			require.Contains(t, all, "Deployment/orders-orderhub-ingest-worker")
			require.Contains(t, all, "Deployment/orders-orderhub-read-api")
			require.Contains(t, all, "Job/orders-orderhub-migrate")
			for object, m := range all {
				if m.Kind == "Deployment" || m.Kind == "Job" {
					requirePod(t, object, m)
				}
				requireSelected(t, all, object, m)
			}
			for object, m := range all {
				if m.Kind != "Deployment" && m.Kind != "Job" {
					continue
				}
				c := m.Spec.Template.Spec.Containers[0]
				environment := c.environment()
				for variable, value := range environment {
					if strings.HasPrefix(value, "/run/orderhub/") {
						file := filepath.Join(t.TempDir(), variable)
						content, found := contents[variable]
						if strings.Contains(variable, "_CA_") || strings.HasPrefix(variable, "PGSSL") || strings.Contains(variable, "CREDS") || strings.Contains(variable, "_CERT_") || strings.Contains(variable, "_KEY_FILE") && strings.Contains(variable, "TLS") {
							pem, err := os.ReadFile(certificate.Client)
							require.NoError(t, err)
							content = string(pem)
						} else if !found {
							content = "a secret of 16 bytes or more"
						}
						require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
						environment[variable] = file
					}
				}
				if c.target() != "orderctl" {
					requireAccepted(t, object, c.target(), environment)
				}
				// With --help a command checks its arguments and does no more.
				settings(t, c.target(), c.Args...)
			}
		})
	}
}

// requirePod checks what each pod of the chart has.
func requirePod(t *testing.T, name string, m manifest) {
	t.Helper()
	pod := m.Spec.Template.Spec
	require.True(t, pod.SecurityContext.RunAsNonRoot, name)
	require.Len(t, pod.Containers, 1, name)
	c := pod.Containers[0]
	i := build(t, c.target())
	uid, _, _ := strings.Cut(i.user, ":")
	require.Equal(t, uid, strconv.Itoa(pod.SecurityContext.RunAsUser), "%s: the image's user", name)
	require.NotEmpty(t, c.Resources.Requests["memory"], name)
	require.NotEmpty(t, c.Resources.Requests["cpu"], name)
	require.NotEmpty(t, c.Resources.Limits["memory"], name)
	require.True(t, c.SecurityContext.ReadOnlyRootFilesystem, name)
	require.NotNil(t, c.SecurityContext.AllowPrivilegeEscalation, name)
	require.False(t, *c.SecurityContext.AllowPrivilegeEscalation, name)
	if bound := c.environment()["GOMEMLIMIT"]; bound != "" {
		bytes, err := units.RAMInBytes(bound)
		require.NoError(t, err)
		limit, err := units.RAMInBytes(strings.TrimSuffix(c.Resources.Limits["memory"], "i"))
		require.NoError(t, err)
		require.LessOrEqual(t, float64(bytes), 0.91*float64(limit), "%s: GOMEMLIMIT", name)
	}
	mounted := map[string]bool{}
	for _, volume := range pod.Volumes {
		for _, source := range volume.Projected.Sources {
			for _, item := range append(source.Secret.Items, source.ConfigMap.Items...) {
				for _, mount := range c.VolumeMounts {
					if mount.Name == volume.Name {
						mounted[mount.MountPath+"/"+item.Path] = true
					}
				}
			}
		}
	}
	for variable, value := range c.environment() {
		if strings.HasPrefix(value, "/run/") {
			require.True(t, mounted[value], "%s: %s=%s is not mounted", name, variable, value)
		}
	}
	if m.Kind == "Job" {
		return
	}
	require.Equal(t, "/livez", c.LivenessProbe.HTTPGet.Path, name)
	require.Equal(t, "/readyz", c.ReadinessProbe.HTTPGet.Path, name)
	require.Equal(t, "admin", c.LivenessProbe.HTTPGet.Port, name)
	require.Equal(t, "admin", c.ReadinessProbe.HTTPGet.Port, name)
	require.Greater(t, pod.TerminationGracePeriodSeconds, 10, "%s: more than STOP_TIMEOUT", name)
	listening := maps.Clone(i.env)
	maps.Copy(listening, c.environment())
	for _, port := range c.Ports {
		variable := map[string]string{"admin": "ADMIN_ADDR", "http": "HTTP_ADDR"}[port.Name]
		require.Equal(t, fmt.Sprintf(":%d", port.ContainerPort), listening[variable], "%s: %s", name, port.Name)
	}
}

// requireSelected checks that what an object selects is there.
func requireSelected(t *testing.T, all map[string]manifest, name string, m manifest) {
	t.Helper()
	pods := all["Deployment/"+m.Metadata.Name].Spec.Template.Metadata.Labels
	switch m.Kind {
	case "Deployment", "PodDisruptionBudget":
		require.NotEmpty(t, m.Spec.Selector.MatchLabels, name)
		require.Subset(t, pods, m.Spec.Selector.MatchLabels, name)
	case "Service":
		require.NotEmpty(t, m.Spec.Selector.Rest, name)
		for label, value := range m.Spec.Selector.Rest {
			require.Equal(t, value, pods[label], name)
		}
		require.Equal(t, "http", m.Spec.Ports[0].TargetPort, name)
	case "PodMonitor":
		for _, other := range all {
			if other.Kind == "Deployment" {
				require.Subset(t, other.Spec.Template.Metadata.Labels, m.Spec.Selector.MatchLabels, name)
			}
		}
	case "PrometheusRule":
		groups := 0
		for _, file := range readYAML[struct {
			RuleFiles []string `yaml:"rule_files"`
		}](t, "deploy", "prometheus", "prometheus.yml").RuleFiles {
			groups += len(readYAML[struct{ Groups []any }](t, "deploy", "prometheus", file).Groups)
		}
		require.Len(t, m.Spec.Groups, groups, "all rules of deploy/prometheus")
	case "HorizontalPodAutoscaler", "ScaledObject":
		require.Contains(t, all, "Deployment/"+m.Spec.ScaleTargetRef.Name)
		require.Nil(t, all["Deployment/"+m.Spec.ScaleTargetRef.Name].Spec.Replicas, "%s: each upgrade would undo what it decided", name)
	}
}

func TestChartHasEverything(t *testing.T) {
	all := example(t, "production")
	kinds := map[string]int{}
	for _, m := range all {
		kinds[m.Kind]++
	}
	require.Equal(t, map[string]int{
		"Deployment": 4, "Job": 3, "Service": 2, "PodDisruptionBudget": 2, "ScaledObject": 1, "HorizontalPodAutoscaler": 1, "Ingress": 1, "HTTPRoute": 1,
		"PodMonitor": 1, "PrometheusRule": 1, "ConfigMap": 2, "NetworkPolicy": 4, "PersistentVolumeClaim": 1,
	}, kinds)
	weights := map[string]string{}
	for _, m := range all {
		if m.Kind == "Job" {
			weights[m.Metadata.Name] = m.Metadata.Annotations["helm.sh/hook-weight"]
		}
	}
	require.Equal(t, map[string]string{"orders-orderhub-roles": "-30", "orders-orderhub-migrate": "-20", "orders-orderhub-topics": "-10"}, weights, "in this order")
	dashboards, err := filepath.Glob(inRepository("deploy", "grafana", "dashboards", "*.json"))
	require.NoError(t, err)
	require.Len(t, all["ConfigMap/orders-orderhub-dashboards"].Data, len(dashboards))
	require.Contains(t, all["Deployment/orders-orderhub-read-api"].Spec.Template.Spec.Containers[0].Image, "read-api@sha256:")
}

// Saved orders are on a folder of the node, or each pod's on a volume of its own.
func TestChartKeepsSavedOrders(t *testing.T) {
	for kind, volume := range map[string]bool{"Deployment": false, "StatefulSet": true} {
		all, err := render(t, chart, filepath.Join(examples, "minimal.yaml"),
			write(t, fmt.Sprintf(`api: {autoscaling: {enabled: true}, snapshot: {enabled: true, volume: {enabled: %t, storageClassName: fast}}}`, volume)))
		require.NoError(t, err)
		api := all[kind+"/orders-orderhub-read-api"]
		requirePod(t, kind, api)
		c := api.Spec.Template.Spec.Containers[0]
		folder := c.environment()["CACHE_SNAPSHOT_DIR"]
		require.Equal(t, c.VolumeMounts[len(c.VolumeMounts)-1].MountPath, filepath.Dir(folder), "the program makes the folder, for its user only")
		require.Equal(t, kind, all["HorizontalPodAutoscaler/orders-orderhub-read-api"].Spec.ScaleTargetRef.Kind)
	}
}

// The pods are replaced when the rules change: the programs read them at the start.
func TestChartRollsPodsForNewRules(t *testing.T) {
	checksum := func(rules string) (worker, api map[string]string) {
		all, err := render(t, chart, filepath.Join(examples, "minimal.yaml"), write(t, rules))
		require.NoError(t, err)
		return all["Deployment/orders-orderhub-ingest-worker"].Spec.Template.Metadata.Annotations, all["Deployment/orders-orderhub-read-api"].Spec.Template.Metadata.Annotations
	}
	worker, api := checksum(`rules: {fields: {delivery.phone: [required]}}`)
	changed, same := checksum(`rules: {fields: {delivery.phone: [required, max=40]}}`)
	require.NotEmpty(t, worker)
	require.NotEqual(t, worker, changed)
	require.Equal(t, api, same)
}

func TestChartRefusesWhatCannotWork(t *testing.T) {
	for about, c := range map[string]struct{ values, says string }{
		"no brokers":                   {`kafka: {settings: {KAFKA_BROKERS: ""}}`, "KAFKA_BROKERS"},
		"a misspelt value":             {`worker: {replcas: 3}`, "replcas"},
		"a misspelt setting":           {`api: {settings: {CACHE_BYTE: "5"}}`, "CACHE_BYTE"},
		"a setting of another type":    {`worker: {settings: {STOP_TIMEOUT: [1]}}`, "STOP_TIMEOUT"},
		"a secret without a key":       {`api: {secrets: {HTTP_SESSION_KEY: {secret: x}}}`, "HTTP_SESSION_KEY"},
		"more workers than partitions": {"kafka: {settings: {KAFKA_TOPIC_PARTITIONS: 6}}\nworker: {autoscaling: {enabled: true, maxReplicas: 7}}", "6 partitions"},
		"an ingress without a host":    {`api: {ingress: {enabled: true}}`, "api.ingress.host"},
	} {
		_, err := render(t, chart, filepath.Join(examples, "minimal.yaml"), write(t, c.values))
		require.ErrorContains(t, err, c.says, about)
	}
}

// The check of the tests: a template with a misspelt field fails.
func TestChartCheckFindsMisspeltFields(t *testing.T) {
	for file, field := range map[string]string{
		"_helpers.tpl": "unhealthyPodEvictionPolicy", "worker.yaml": "maxReplicaCount", "monitoring.yaml": "podMetricsEndpoints", "jobs.yaml": "ttlSecondsAfterFinished",
	} {
		folder := t.TempDir()
		require.NoError(t, exec.Command("cp", "-RL", chart+"/.", folder).Run())
		path := filepath.Join(folder, "templates", file)
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, bytes.Replace(content, []byte(field), []byte(field+"s"), 1), 0o600))
		_, err = render(t, folder, filepath.Join(examples, "production.yaml"))
		require.ErrorContains(t, err, field+"s", file)
	}
}

// A misspelt setting is refused by the chart's schema, so the schema has to know all of them.
func TestChartKnowsTheSettings(t *testing.T) {
	var schema struct {
		Defs map[string]struct{ Enum []string } `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(read(t, "deploy", "helm", "orderhub", "values.schema.json"), &schema))
	wanted := []string{"PGPASSFILE", "PGSSLCERT", "PGSSLKEY", "PGSSLROOTCERT"} // pgx reads them
	for target, arguments := range map[string][]string{"ingest-worker": nil, "read-api": nil, "nats-bridge": nil, "orderctl": {"dlq", "ui"}} {
		wanted = append(wanted, settings(t, target, arguments...)...)
	}
	wanted = append(wanted, settings(t, "orderctl", "topics")...)
	wanted = slices.DeleteFunc(wanted, func(name string) bool { return name == "VARIABLE" }) // the table's head
	slices.Sort(wanted)
	require.Equal(t, slices.Compact(wanted), schema.Defs["setting"].Enum)
}
