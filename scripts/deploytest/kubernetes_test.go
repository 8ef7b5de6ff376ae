package deploytest

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// manifest is what the tests look at of any Kubernetes object.
type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct {
		Name   string
		Labels map[string]string
	}
	Data       map[string]string
	StringData map[string]string `yaml:"stringData"`
	Spec       struct {
		Template podTemplate
		Selector selector
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
	Name        string            `yaml:"app.kubernetes.io/name"`
}

type podTemplate struct {
	Metadata struct{ Labels map[string]string }
	Spec     struct {
		TerminationGracePeriodSeconds int `yaml:"terminationGracePeriodSeconds"`
		SecurityContext               struct {
			RunAsNonRoot bool `yaml:"runAsNonRoot"`
		} `yaml:"securityContext"`
		Containers []container
	}
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

type container struct {
	Image   string
	Args    []string
	EnvFrom []struct {
		ConfigMapRef struct{ Name string } `yaml:"configMapRef"`
		SecretRef    struct{ Name string } `yaml:"secretRef"`
	} `yaml:"envFrom"`
	Env []struct {
		Name, Value string
		ValueFrom   struct {
			SecretKeyRef    struct{ Name, Key string } `yaml:"secretKeyRef"`
			ConfigMapKeyRef struct{ Name, Key string } `yaml:"configMapKeyRef"`
		} `yaml:"valueFrom"`
	}
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	LivenessProbe  probe `yaml:"livenessProbe"`
	ReadinessProbe probe `yaml:"readinessProbe"`
	Resources      struct {
		Requests, Limits map[string]string
	}
	SecurityContext struct {
		AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
	} `yaml:"securityContext"`
}

const kubernetes = "deploy/kubernetes"

// manifests returns all objects, by kind and name.
func manifests(t *testing.T) map[string]manifest {
	t.Helper()
	files, err := filepath.Glob(inRepository(kubernetes, "*.yaml"))
	require.NoError(t, err)
	all := map[string]manifest{}
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		decoder := yaml.NewDecoder(bytes.NewReader(read(t, kubernetes, filepath.Base(file))))
		for {
			var m manifest
			err := decoder.Decode(&m)
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, file)
			require.NotEmpty(t, m.APIVersion, file)
			require.NotEmpty(t, m.Metadata.Name, file)
			require.NotContains(t, all, m.Kind+"/"+m.Metadata.Name)
			all[m.Kind+"/"+m.Metadata.Name] = m
		}
	}
	return all
}

func TestKustomizationIsComplete(t *testing.T) {
	kustomization := readYAML[struct {
		Resources []string
		Images    []struct{ Name, NewTag string }
	}](t, kubernetes, "kustomization.yaml")
	files, err := filepath.Glob(inRepository(kubernetes, "*.yaml"))
	require.NoError(t, err)
	var wanted []string
	for _, file := range files {
		if name := filepath.Base(file); name != "kustomization.yaml" && name != "secret.example.yaml" {
			wanted = append(wanted, name)
		}
	}
	const optional = "nats-bridge.yaml" // a comment names it
	require.Contains(t, string(read(t, kubernetes, "kustomization.yaml")), "\n  # - "+optional)
	require.ElementsMatch(t, wanted, append(kustomization.Resources, optional))
	var images []string
	for _, image := range kustomization.Images {
		images = append(images, strings.TrimPrefix(image.Name, "orderhub/"))
	}
	require.ElementsMatch(t, targets, images, "each image is given its version")
}

func TestPods(t *testing.T) {
	all := manifests(t)
	require.Contains(t, all, "Job/migrate")
	require.Contains(t, all, "Deployment/ingest-worker")
	require.Contains(t, all, "Deployment/nats-bridge")
	require.Contains(t, all, "Deployment/read-api")
	for name, m := range all {
		if m.Kind != "Deployment" && m.Kind != "Job" {
			continue
		}
		pod := m.Spec.Template.Spec
		require.True(t, pod.SecurityContext.RunAsNonRoot, name)
		require.Len(t, pod.Containers, 1, name)
		c := pod.Containers[0]
		target, found := strings.CutPrefix(c.Image, "orderhub/")
		require.True(t, found && slices.Contains(targets, target), "%s: the version of %s is the kustomization's", name, c.Image)
		require.NotEmpty(t, c.Resources.Requests["memory"], name)
		require.NotEmpty(t, c.Resources.Requests["cpu"], name)
		require.NotEmpty(t, c.Resources.Limits["memory"], name)
		require.True(t, c.SecurityContext.ReadOnlyRootFilesystem, name)
		require.NotNil(t, c.SecurityContext.AllowPrivilegeEscalation, name)
		require.False(t, *c.SecurityContext.AllowPrivilegeEscalation, name)

		environment := environment(t, all, c)
		arguments := c.Args
		if target != "orderctl" {
			requireAccepted(t, name, target, environment)
			arguments = nil
		}
		requireKnown(t, name, target, arguments, environment)
	}
}

// environment is what a container gets, with the example's secrets.
func environment(t *testing.T, all map[string]manifest, c container) map[string]string {
	t.Helper()
	merged := map[string]string{}
	take := func(kind, name, key, as string) {
		source, found := all[kind+"/"+name]
		require.True(t, found, "%s %s", kind, name)
		for data, value := range source.Data {
			if key == "" || key == data {
				merged[as+data] = value
			}
		}
		for data, value := range source.StringData {
			if key == "" || key == data {
				merged[as+data] = value
			}
		}
		if key != "" {
			require.Contains(t, merged, as+key, "%s %s", kind, name)
		}
	}
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef.Name != "" {
			take("ConfigMap", from.ConfigMapRef.Name, "", "")
		}
		if from.SecretRef.Name != "" {
			take("Secret", from.SecretRef.Name, "", "")
		}
	}
	for _, variable := range c.Env {
		switch from := variable.ValueFrom; {
		case from.SecretKeyRef.Name != "":
			require.Equal(t, variable.Name, from.SecretKeyRef.Key)
			take("Secret", from.SecretKeyRef.Name, from.SecretKeyRef.Key, "")
		case from.ConfigMapKeyRef.Name != "":
			require.Equal(t, variable.Name, from.ConfigMapKeyRef.Key)
			take("ConfigMap", from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key, "")
		default:
			merged[variable.Name] = variable.Value
		}
	}
	return merged
}

func TestProbesAskTheAdminPort(t *testing.T) {
	for name, m := range manifests(t) {
		if m.Kind != "Deployment" {
			continue
		}
		c := m.Spec.Template.Spec.Containers[0]
		require.Equal(t, "/livez", c.LivenessProbe.HTTPGet.Path, name)
		require.Equal(t, "/readyz", c.ReadinessProbe.HTTPGet.Path, name)
		require.Equal(t, "admin", c.LivenessProbe.HTTPGet.Port, name)
		require.Equal(t, "admin", c.ReadinessProbe.HTTPGet.Port, name)
		require.Greater(t, m.Spec.Template.Spec.TerminationGracePeriodSeconds, 10, "%s: more than STOP_TIMEOUT", name)
		for _, port := range c.Ports {
			variable := map[string]string{"admin": "ADMIN_ADDR", "http": "HTTP_ADDR"}[port.Name]
			require.Equal(t, listens(t, m.Metadata.Name, variable), strconv.Itoa(port.ContainerPort), "%s: %s", name, port.Name)
		}
	}
}

func TestSelectorsFindTheirPods(t *testing.T) {
	all := manifests(t)
	for name, m := range all {
		switch m.Kind {
		case "Deployment":
			require.NotEmpty(t, m.Spec.Selector.MatchLabels, name)
			require.Subset(t, m.Spec.Template.Metadata.Labels, m.Spec.Selector.MatchLabels, name)
		case "PodDisruptionBudget":
			require.Contains(t, all, "Deployment/"+m.Metadata.Name)
			require.NotEmpty(t, m.Spec.Selector.MatchLabels, name)
			require.Subset(t, all["Deployment/"+m.Metadata.Name].Spec.Template.Metadata.Labels, m.Spec.Selector.MatchLabels, name)
		case "Service":
			pods := all["Deployment/"+m.Metadata.Name].Spec.Template
			require.Equal(t, pods.Metadata.Labels["app.kubernetes.io/name"], m.Spec.Selector.Name, name)
			require.Equal(t, "http", m.Spec.Ports[0].TargetPort, name)
		case "HorizontalPodAutoscaler":
			target := m.Spec.ScaleTargetRef.Kind + "/" + m.Spec.ScaleTargetRef.Name
			require.Contains(t, all, target)
			require.Nil(t, all[target].Spec.Replicas, "%s: each apply would undo what %s decided", target, name)
		}
	}
}
