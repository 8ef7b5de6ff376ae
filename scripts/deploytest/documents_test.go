package deploytest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// settingsPage lists the settings of all programs.
const settingsPage = "docs/settings.md"

// helpOf is the help of each program in settingsPage.
func helpOf(t *testing.T) map[string]string {
	t.Helper()
	stack, err := exec.Command("go", "run", "../cmd/stack", "--help").CombinedOutput()
	require.NoError(t, err, "%s", stack)
	help := map[string]string{"make run": string(stack)}
	for name, target := range map[string]string{"worker": "ingest-worker", "bridge": "nats-bridge", "API": "read-api", "orderctl": "orderctl"} {
		output, err := exec.Command(build(t, target).program(), "--help").CombinedOutput()
		require.NoError(t, err, "%s", output)
		help[name] = string(output)
	}
	return help
}

// defaults are the settings that a program's help shows.
func defaults(t *testing.T, help string) map[string]string {
	t.Helper()
	head := regexp.MustCompile(`(?m)^  VARIABLE( +)DEFAULT( +)MEANING$`).FindString(help)
	require.NotEmpty(t, head, help)
	from, to := strings.Index(head, "DEFAULT"), strings.Index(head, "MEANING")
	all := map[string]string{}
	for line := range strings.SplitSeq(help, "\n") {
		if match := settingLine.FindStringSubmatch(line); match != nil && match[1] != "VARIABLE" {
			all[match[1]] = strings.TrimSpace(line[from:to])
		}
	}
	return all
}

func TestDocumentsListTheSettings(t *testing.T) {
	_, table, found := strings.Cut(string(read(t, settingsPage)), "|---|---|---|---|\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	described := map[string]map[string]string{} // by program and variable, the cell of the default
	variable := regexp.MustCompile("`([A-Z_]+)`")
	for line := range strings.SplitSeq(table, "\n") {
		cells := strings.Split(line, "|")
		require.Len(t, cells, 6, line)
		for program := range strings.SplitSeq(cells[3], ",") {
			program = strings.TrimSpace(program)
			if described[program] == nil {
				described[program] = map[string]string{}
			}
			for _, match := range variable.FindAllStringSubmatch(cells[1], -1) {
				require.NotContains(t, described[program], match[1], "listed twice for %s", program)
				described[program][match[1]] = cells[2]
			}
		}
	}
	help := helpOf(t)
	require.Len(t, described, len(help))
	for program, text := range help {
		read := defaults(t, text)
		for name, fallback := range read {
			cell, there := described[program][name]
			require.True(t, there, "the page does not say that %s reads %s", program, name)
			require.Contains(t, cell, strings.ReplaceAll(fallback, ":xxxxx@", ":orders@"), "the default of %s in %s", name, program)
		}
		for name := range described[program] {
			require.Contains(t, read, name, "the page says that %s reads it", program)
		}
	}
}

func TestTheExampleOfDotenvIsOfSettingsThatExist(t *testing.T) {
	known := map[string]bool{}
	for _, text := range helpOf(t) {
		for name := range defaults(t, text) {
			known[name] = true
		}
	}
	environment := map[string]string{}
	for _, match := range regexp.MustCompile(`(?m)^#([A-Z_]+)=(.*)$`).FindAllStringSubmatch(string(read(t, ".env.example")), -1) {
		require.True(t, known[match[1]], "nothing reads %s", match[1])
		environment[match[1]] = match[2]
	}
	require.NotEmpty(t, environment)
	for _, target := range []string{"ingest-worker", "nats-bridge", "read-api"} {
		requireAccepted(t, ".env.example", target, environment)
	}
}

func TestDocumentsLinkToFilesThatExist(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	documents, err := filepath.Glob(filepath.Join(repository, "docs", "*.md"))
	require.NoError(t, err)
	decisions, err := filepath.Glob(filepath.Join(repository, "docs", "decisions", "*.md"))
	require.NoError(t, err)
	for _, name := range []string{"README.md", "SECURITY.md", "ARCHITECTURE.md", "CHANGELOG.md"} {
		documents = append(documents, filepath.Join(repository, name))
	}
	for _, document := range append(documents, decisions...) {
		content, err := os.ReadFile(document)
		require.NoError(t, err)
		for _, match := range link.FindAllStringSubmatch(string(content), -1) {
			if target := match[1]; !strings.Contains(target, "://") {
				requireExists(t, filepath.Join(filepath.Dir(document), filepath.FromSlash(target)), document)
			}
		}
	}
}

func requireExists(t *testing.T, target, document string) {
	t.Helper()
	_, err := os.Stat(target)
	require.NoError(t, err, "%s links to it", document)
}
