package deploytest

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/require"
)

const composeFile = "docker-compose.yml"

// compose loads and validates the file, with all profiles and these variables.
func compose(t *testing.T, variables ...string) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{inRepository(composeFile)},
		cli.WithWorkingDirectory(repository), cli.WithProfiles([]string{"*"}), cli.WithEnv(variables))
	require.NoError(t, err)
	project, err := options.LoadProject(context.Background())
	require.NoError(t, err)
	return project
}

var jobs = []string{"migrate", "roles", "topics"}

func TestComposeServices(t *testing.T) {
	project := compose(t)
	names := slices.Sorted(maps.Keys(project.Services))
	require.Equal(t, []string{"console", "gateway", "grafana", "ingest-worker", "kafka", "migrate", "nats", "nats-bridge", "postgres", "prometheus", "read-api", "roles", "topics"}, names)

	pinned := regexp.MustCompile(`^[a-z/]+:v?\d+\.\d+(\.\d+)?(-[a-z]+)?$`)
	for name, service := range project.Services {
		require.Empty(t, service.ContainerName, "%s: only one container can have a name", name)
		if slices.Contains(jobs, name) {
			require.Nil(t, service.HealthCheck, "%s: a job isn't healthy, it's done", name)
			require.Empty(t, service.Restart, "%s: a job that is done stays so", name)
		} else {
			require.NotNil(t, service.HealthCheck, name)
			require.NotEmpty(t, service.HealthCheck.Test, name)
			require.Equal(t, "unless-stopped", service.Restart, name)
		}
		if service.Build == nil {
			require.Regexp(t, pinned, service.Image, name)
			continue
		}
		require.Equal(t, "deploy/Dockerfile", service.Build.Dockerfile, name)
		context, err := os.Stat(service.Build.Context)
		require.NoError(t, err)
		root, err := os.Stat(repository)
		require.NoError(t, err)
		require.True(t, os.SameFile(root, context), "%s: the context is the repository", name)
		require.Equal(t, "orderhub/"+service.Build.Target, service.Image, name)
	}
	require.Equal(t, []string{"nats"}, project.Services["nats"].Profiles)
	require.Equal(t, []string{"nats"}, project.Services["nats-bridge"].Profiles)
	require.Equal(t, []string{"monitoring"}, project.Services["grafana"].Profiles)
	require.Equal(t, []string{"monitoring"}, project.Services["prometheus"].Profiles)
}

func TestComposeStartsInOrder(t *testing.T) {
	project := compose(t)
	const healthy, done = types.ServiceConditionHealthy, types.ServiceConditionCompletedSuccessfully
	wanted := map[string]map[string]string{
		"kafka":         {},
		"postgres":      {},
		"topics":        {"kafka": healthy},
		"roles":         {"postgres": healthy},
		"migrate":       {"roles": done},
		"ingest-worker": {"topics": done, "migrate": done},
		"nats":          {},
		"nats-bridge":   {"topics": done, "nats": healthy},
		"read-api":      {"migrate": done},
		"console":       {"topics": done, "migrate": done},
		"gateway":       {"read-api": healthy},
		"prometheus":    {},
		"grafana":       {"prometheus": healthy},
	}
	for name, service := range project.Services {
		conditions := map[string]string{}
		for on, dependency := range service.DependsOn {
			require.True(t, dependency.Required, "%s on %s", name, on)
			conditions[on] = dependency.Condition
		}
		require.Equal(t, wanted[name], conditions, name)
	}
}

func TestComposePublishesOnTheLoopbackOnly(t *testing.T) {
	published := map[string]string{}
	for name, service := range compose(t).Services {
		for _, port := range service.Ports {
			require.Equal(t, "127.0.0.1", port.HostIP, name)
			published[port.Published] = fmt.Sprintf("%s:%d", name, port.Target)
		}
	}
	require.Equal(t, map[string]string{
		"3000": "grafana:3000", "4222": "nats:4222", "5432": "postgres:5432", "8081": "gateway:8081", "8082": "console:8082", "9090": "prometheus:9090", "9092": "kafka:9092",
	}, published, "and none of services that are to be scaled: their containers would fight for it")
}

func TestComposePortsMove(t *testing.T) {
	project := compose(t, "API_PORT=18081", "CONSOLE_PORT=18082", "KAFKA_PORT=19092", "POSTGRES_PORT=15432")
	require.Equal(t, "http://localhost:18082", *project.Services["read-api"].Environment["CONSOLE_URL"])
	for name, port := range map[string]string{"gateway": "18081", "console": "18082", "kafka": "19092", "postgres": "15432"} {
		require.Equal(t, port, project.Services[name].Ports[0].Published, name)
	}
	require.Equal(t, "localhost:19092", listeners(t, project, "KAFKA_ADVERTISED_LISTENERS")["HOST"], "clients are sent on to where the broker says it is")
}

func TestComposeSetsWhatTheProgramsRead(t *testing.T) {
	project := compose(t)
	for name, service := range project.Services {
		if service.Build == nil {
			continue
		}
		environment := map[string]string{}
		for variable, value := range service.Environment {
			if value != nil {
				environment[variable] = *value
			}
		}
		if service.Build.Target == "orderctl" {
			// With --help a command checks its flags and does no more.
			requireKnown(t, composeFile, "orderctl", service.Command, service.Environment)
			continue
		}
		require.Empty(t, service.Command, name)
		requireKnown(t, composeFile, service.Build.Target, nil, service.Environment)
		requireAccepted(t, composeFile, service.Build.Target, environment)
		require.Equal(t, types.HealthCheckTest{"CMD", build(t, service.Build.Target).entrypoint[0], "--healthcheck"}, service.HealthCheck.Test, name)
	}
}

func TestComposeServicesFindEachOther(t *testing.T) {
	project := compose(t)
	postgres := project.Services["postgres"].Environment
	internal := listeners(t, project, "KAFKA_ADVERTISED_LISTENERS")["INTERNAL"]
	require.Equal(t, "kafka:19092", internal)
	for name, service := range project.Services {
		if value := service.Environment["DATABASE_URL"]; value != nil {
			address, err := url.Parse(*value)
			require.NoError(t, err)
			password, _ := address.User.Password()
			require.Equal(t, "postgres:5432", address.Host, name)
			wanted, known := map[string]string{"migrate": "migrate", "ingest-worker": "writer", "read-api": "reader", "console": "operator"}[name]
			if known { // a role of its own, whose password the job of the roles sets
				require.Equal(t, "orderhub_"+wanted, address.User.Username(), name)
				require.Equal(t, project.Configs[wanted+"-password"].Content, password, name)
				require.Contains(t, project.Services["roles"].Command, "--"+wanted+"-password-file=/"+wanted+"-password")
			} else {
				require.Equal(t, "roles", name)
				require.Equal(t, *postgres["POSTGRES_USER"], address.User.Username(), name)
				require.Equal(t, *postgres["POSTGRES_PASSWORD"], password, name)
			}
			require.Equal(t, "/"+*postgres["POSTGRES_DB"], address.Path, name)
		}
		if value := service.Environment["KAFKA_BROKERS"]; value != nil {
			require.Equal(t, internal, *value, name)
		}
		for _, volume := range service.Volumes {
			if volume.Type == types.VolumeTypeVolume && service.Build != nil {
				require.DirExists(t, build(t, service.Build.Target).file(volume.Target), "%s: without it in the image the volume is root's", name)
			}
			if volume.Type == types.VolumeTypeBind {
				_, err := os.Stat(volume.Source)
				require.NoError(t, err, "%s mounts what isn't there", name)
				require.True(t, volume.ReadOnly, "%s: %s", name, volume.Source)
			}
		}
	}
	gateway := string(read(t, "deploy", "compose", "haproxy.cfg"))
	require.Contains(t, gateway, "read-api:"+listens(t, "read-api", "HTTP_ADDR"))
	require.Contains(t, gateway, "check port "+listens(t, "read-api", "ADMIN_ADDR"))
	require.Contains(t, gateway, fmt.Sprintf("bind :%d\n", project.Services["gateway"].Ports[0].Target))
}

func TestComposeBrokerListens(t *testing.T) {
	project := compose(t)
	bound, protocols := listeners(t, project, "KAFKA_LISTENERS"), listeners(t, project, "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP")
	require.Equal(t, slices.Sorted(maps.Keys(bound)), slices.Sorted(maps.Keys(protocols)))
	for name := range listeners(t, project, "KAFKA_ADVERTISED_LISTENERS") {
		require.Contains(t, bound, name)
	}
	require.Equal(t, fmt.Sprint(":", project.Services["kafka"].Ports[0].Target), bound["HOST"], "what is published is where it listens for this machine")
	require.Contains(t, strings.Join(project.Services["kafka"].HealthCheck.Test, " "), "localhost"+bound["INTERNAL"])
}

// listeners takes apart a list of the broker's, NAME://address or NAME:PROTOCOL.
func listeners(t *testing.T, project *types.Project, variable string) map[string]string {
	t.Helper()
	list := map[string]string{}
	for part := range strings.SplitSeq(*project.Services["kafka"].Environment[variable], ",") {
		name, address, found := strings.Cut(part, ":")
		require.True(t, found, part)
		list[name] = strings.TrimPrefix(address, "//")
	}
	return list
}
