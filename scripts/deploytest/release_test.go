package deploytest

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestReleaseIsReproducible builds a release twice, in two clones with caches of their
// own, and compares all of it. ORDERHUB_TEST_RELEASE=full builds all programs for all
// platforms, =short the smallest program for this one.
func TestReleaseIsReproducible(t *testing.T) {
	extent := os.Getenv("ORDERHUB_TEST_RELEASE")
	if extent == "" {
		t.Skip("make test-release compares two builds of a release")
	}
	var sums []string
	for range 2 {
		clone := filepath.Join(t.TempDir(), "clone")
		run(t, "", nil, "git", "clone", "-q", inRepository(), clone)
		changelog := filepath.Join(clone, "CHANGELOG.md")
		content, err := os.ReadFile(changelog)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(changelog, append(content, "\n## 9.9.9\n"...), 0o600))
		manifest := filepath.Join(clone, "deploy", "helm", "orderhub", "Chart.yaml")
		content, err = os.ReadFile(manifest)
		require.NoError(t, err)
		lines := strings.Split(string(content), "\n")
		for i, line := range lines {
			if strings.HasPrefix(line, "appVersion: ") {
				lines[i] = "appVersion: v9.9.9"
			}
		}
		require.NoError(t, os.WriteFile(manifest, []byte(strings.Join(lines, "\n")), 0o600))
		commit := []string{"GIT_AUTHOR_DATE=2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z"}
		run(t, clone, commit, "git", "-c", "user.name=Orderhub", "-c", "user.email=orderhub@example.com", "commit", "-qam", "Release 9.9.9")
		environment := []string{"GOCACHE=" + t.TempDir()}
		if extent == "short" {
			environment = append(environment, "PLATFORMS="+runtime.GOOS+"/"+runtime.GOARCH, "PROGRAMS=nats-bridge")
		}
		run(t, clone, environment, "make", "release", "VERSION=v9.9.9")
		written, err := os.ReadFile(filepath.Join(clone, "dist", "v9.9.9", "SHA256SUMS"))
		require.NoError(t, err)
		sums = append(sums, string(written))
		require.Contains(t, string(written), "nats-bridge.cdx.json")
		archive := filepath.Join(clone, "dist", "v9.9.9", "orderhub_v9.9.9_"+runtime.GOOS+"_"+runtime.GOARCH+".tar.gz")
		unpacked := t.TempDir()
		run(t, "", nil, "tar", "-xzf", archive, "--strip-components=1", "-C", unpacked)
		version := run(t, "", nil, filepath.Join(unpacked, "nats-bridge"), "--version")
		require.Contains(t, version, "v9.9.9, revision ")
		require.NotContains(t, version, "with changes")
	}
	require.Equal(t, sums[0], sums[1])
}

func TestReleaseRefusesWhatIsNoRelease(t *testing.T) {
	output, err := exec.Command(inRepository("scripts", "release.sh"), "0.2", "1.0.0").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(output), "VERSION is 0.2, but versions look like v1.2.3")
}

// run runs a command in a folder, and returns what it prints.
func run(t *testing.T, folder string, environment []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), environment...)
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s %v\n%s", name, args, output)
	return string(output)
}
