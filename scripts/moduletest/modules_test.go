package moduletest

import (
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/mod/modfile"
)

const (
	repository = "../.."
	prefix     = "github.com/orderhub/orderhub/"
)

// modules returns each go.mod of the repository by its folder, with slashes.
func modules(t *testing.T) map[string]*modfile.File {
	t.Helper()
	found := map[string]*modfile.File{}
	err := filepath.WalkDir(repository, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && name != repository && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if entry.Name() != "go.mod" {
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		parsed, err := modfile.Parse(name, content, nil)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(repository, filepath.Dir(name))
		found[filepath.ToSlash(folder)] = parsed
		return err
	})
	require.NoError(t, err)
	require.NotEmpty(t, found)
	return found
}

func TestTheWorkspaceHasAllModulesAndOneGoVersion(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(repository, "go.work"))
	require.NoError(t, err)
	work, err := modfile.ParseWork("go.work", content, nil)
	require.NoError(t, err)
	var used []string
	for _, use := range work.Use {
		used = append(used, path.Clean(use.Path))
	}
	var all []string
	for folder, module := range modules(t) {
		all = append(all, folder)
		require.Equal(t, prefix+folder, module.Module.Mod.Path)
		require.Equal(t, work.Go.Version, module.Go.Version, folder)
		require.Nil(t, module.Toolchain, folder)
	}
	require.ElementsMatch(t, all, used)
}

// A module is built alone only if it says where all of its siblings are, those
// of siblings included.
func TestSiblingsAreReplacedByTheirFolders(t *testing.T) {
	all := modules(t)
	for folder, module := range all {
		replaced := map[string]string{}
		for _, r := range module.Replace {
			require.True(t, strings.HasPrefix(r.Old.Path, prefix), "%s replaces %s, which is no sibling", folder, r.Old.Path)
			require.True(t, modfile.IsDirectoryPath(r.New.Path), folder)
			replaced[r.Old.Path] = path.Join(folder, r.New.Path)
		}
		for _, needed := range module.Require {
			sibling, found := strings.CutPrefix(needed.Mod.Path, prefix)
			if !found {
				continue
			}
			require.Equal(t, "v0.0.0", needed.Mod.Version, "%s: %s", folder, sibling)
			require.Equal(t, sibling, replaced[needed.Mod.Path], "%s: where %s is", folder, sibling)
		}
	}
}

// developmentOnly are packages that no shipped program contains.
var developmentOnly = []string{
	prefix + "scripts",
	"github.com/chromedp/chromedp",
	"github.com/compose-spec/compose-go/v2",
	"github.com/fergusstrange/embedded-postgres",
	"github.com/nats-io/nats-server/v2",
	"github.com/twmb/franz-go/pkg/kfake",
}

// otherClient is the Kafka client that a program must not contain: each has one
// (docs/decisions/0001-two-kafka-clients.md).
var otherClient = map[string]string{
	"ingest-worker": "github.com/twmb/franz-go",
	"orderctl":      "github.com/segmentio/kafka-go",
	"read-api":      "github.com/segmentio/kafka-go",
}

// A service's go.mod may require what its tests need; its program may not
// contain it.
func TestProgramsContainNothingOfDevelopment(t *testing.T) {
	programs, err := filepath.Glob(filepath.Join(repository, "services", "*", "cmd", "*"))
	require.NoError(t, err)
	require.NotEmpty(t, programs)
	for _, program := range programs {
		list := exec.Command("go", "list", "-deps", ".")
		list.Dir = program
		list.Env = append(os.Environ(), "GOWORK=off")
		packages, err := list.Output()
		require.NoError(t, err, program)
		all := developmentOnly
		if client, has := otherClient[filepath.Base(program)]; has {
			all = append(slices.Clone(all), client)
		}
		for name := range strings.Lines(string(packages)) {
			for _, unwanted := range all {
				name = strings.TrimSpace(name)
				require.False(t, name == unwanted || strings.HasPrefix(name, unwanted+"/"), "%s contains %s", program, name)
			}
		}
	}
}

// Services share libs and tables, not code.
func TestServicesDoNotRequireEachOther(t *testing.T) {
	for folder, module := range modules(t) {
		service, found := strings.CutPrefix(folder, "services/")
		if !found {
			continue
		}
		for _, r := range module.Require {
			if other, found := strings.CutPrefix(r.Mod.Path, prefix+"services/"); found {
				require.Equal(t, service, other, folder)
			}
		}
	}
}

// The workspace builds everything with the newest version that any module asks
// for; a module alone is built with its own. Where they agree, what is tested is
// what is shipped.
func TestModulesAgreeOnVersions(t *testing.T) {
	asked := map[string]map[string][]string{} // by module and version, by whom
	for folder, module := range modules(t) {
		for _, r := range module.Require {
			if r.Indirect {
				continue
			}
			if asked[r.Mod.Path] == nil {
				asked[r.Mod.Path] = map[string][]string{}
			}
			asked[r.Mod.Path][r.Mod.Version] = append(asked[r.Mod.Path][r.Mod.Version], folder)
		}
	}
	for module, versions := range asked {
		for _, folders := range versions {
			slices.Sort(folders)
		}
		require.Len(t, versions, 1, "%s: %v", module, versions)
	}
}
