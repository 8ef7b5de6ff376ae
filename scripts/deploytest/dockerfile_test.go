package deploytest

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// image is what a target of the Dockerfile becomes.
type image struct {
	root       string // folder that stands for /
	base       string // the image it starts from
	workdir    string
	args       map[string]string
	env        map[string]string
	user       string
	entrypoint []string
	ports      []string
	labels     map[string]string
}

// program is the image's binary, as a file of this machine.
func (i *image) program() string { return filepath.Join(i.root, filepath.FromSlash(i.entrypoint[0])) }

// baseFiles are files of base images that the Dockerfile takes for given.
var baseFiles = map[string][]string{"golang": {"/etc/ssl/certs/ca-certificates.crt"}}

// buildArgs are those that BuildKit sets, and the Dockerfile's own.
var buildArgs = map[string]string{
	"TARGETOS":      runtime.GOOS,
	"TARGETARCH":    runtime.GOARCH,
	"BUILDPLATFORM": runtime.GOOS + "/" + runtime.GOARCH,
	"VERSION":       "v9.8.7-test",
	"REVISION":      "0123456789abcdef",
}

// builder goes through a Dockerfile as BuildKit does, stage by stage on demand,
// in folders of this machine. It knows the instructions that ours uses and
// refuses others.
type builder struct {
	dir    string
	stages []instructions.Stage
	lex    *shell.Lex
	ignore *patternmatcher.PatternMatcher

	mu    sync.Mutex
	built map[string]result
}

// result of a stage. A failure is remembered as well: each test that wants the
// image tells the same.
type result struct {
	image *image
	err   error
}

// images are built once for all tests.
var images = sync.OnceValues(func() (*builder, error) {
	dockerfile, err := os.ReadFile(inRepository("deploy", "Dockerfile"))
	if err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return nil, err
	}
	stages, _, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return nil, err
	}
	dockerignore, err := os.Open(inRepository(".dockerignore"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = dockerignore.Close() }()
	patterns, err := ignorefile.ReadAll(dockerignore)
	if err != nil {
		return nil, err
	}
	ignore, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "orderhub-images-")
	if err != nil {
		return nil, err
	}
	return &builder{dir: dir, stages: stages, lex: shell.NewLex(parsed.EscapeToken), ignore: ignore, built: map[string]result{}}, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if b, err := images(); err == nil {
		_ = os.RemoveAll(b.dir)
	}
	os.Exit(code)
}

// build returns the image of a target.
func build(t *testing.T, target string) *image {
	t.Helper()
	b, err := images()
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	i, err := b.stage(target)
	if err != nil {
		t.Fatalf("build %s: %v", target, err)
	}
	return i
}

func (b *builder) stage(name string) (*image, error) {
	if _, done := b.built[name]; !done {
		i, err := b.buildStage(name)
		b.built[name] = result{i, err}
	}
	return b.built[name].image, b.built[name].err
}

func (b *builder) buildStage(name string) (*image, error) {
	at := slices.IndexFunc(b.stages, func(s instructions.Stage) bool { return s.Name == name })
	if at < 0 {
		return nil, fmt.Errorf("the Dockerfile has no stage %q", name)
	}
	i, err := b.start(b.stages[at])
	if err != nil {
		return nil, err
	}
	for _, command := range b.stages[at].Commands {
		if err := b.do(i, command); err != nil {
			return nil, fmt.Errorf("stage %s: %v: %w", name, command, err)
		}
	}
	return i, nil
}

// start makes the image that a stage's FROM names.
func (b *builder) start(s instructions.Stage) (*image, error) {
	i := &image{root: filepath.Join(b.dir, s.Name), base: s.BaseName, workdir: "/", args: map[string]string{}, env: map[string]string{}, labels: map[string]string{}}
	if err := os.MkdirAll(i.root, 0o755); err != nil {
		return nil, err
	}
	if slices.ContainsFunc(b.stages, func(other instructions.Stage) bool { return other.Name == s.BaseName }) {
		from, err := b.stage(s.BaseName)
		if err != nil {
			return nil, err
		}
		i.base, i.workdir, i.user = from.base, from.workdir, from.user
		maps.Copy(i.args, from.args)
		maps.Copy(i.env, from.env)
		maps.Copy(i.labels, from.labels)
		return i, os.CopyFS(i.root, os.DirFS(from.root))
	}
	repo, _, _ := strings.Cut(s.BaseName, ":")
	for _, name := range baseFiles[repo] {
		file := filepath.Join(i.root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, []byte("of the base image"), 0o600); err != nil {
			return nil, err
		}
	}
	return i, nil
}

func (b *builder) do(i *image, command instructions.Command) error {
	if expandable, ok := command.(instructions.SupportsSingleWordExpansion); ok {
		if err := expandable.Expand(func(word string) (string, error) {
			result, _, err := b.lex.ProcessWord(word, shell.EnvsFromSlice(i.environment()))
			return result, err
		}); err != nil {
			return err
		}
	}
	switch c := command.(type) {
	case *instructions.ArgCommand:
		for _, arg := range c.Args {
			i.args[arg.Key] = buildArgs[arg.Key]
		}
	case *instructions.EnvCommand:
		for _, pair := range c.Env {
			i.env[pair.Key] = pair.Value
		}
	case *instructions.LabelCommand:
		for _, pair := range c.Labels {
			i.labels[pair.Key] = pair.Value
		}
	case *instructions.WorkdirCommand:
		i.workdir = c.Path
		return os.MkdirAll(i.file(c.Path), 0o755)
	case *instructions.CopyCommand:
		return b.copy(i, c)
	case *instructions.RunCommand:
		return i.run(c)
	case *instructions.UserCommand:
		i.user = c.User
	case *instructions.ExposeCommand:
		i.ports = append(i.ports, c.Ports...)
	case *instructions.EntrypointCommand:
		if c.PrependShell {
			return fmt.Errorf("an image without a shell needs the form with brackets")
		}
		i.entrypoint = c.CmdLine
	default:
		return fmt.Errorf("the test does not know this instruction")
	}
	return nil
}

// file is where a path of the image is on this machine.
func (i *image) file(name string) string {
	if !path.IsAbs(name) {
		name = path.Join(i.workdir, name)
	}
	return filepath.Join(i.root, filepath.FromSlash(name))
}

func (i *image) environment() []string {
	all := maps.Clone(i.args)
	maps.Copy(all, i.env)
	var pairs []string
	for name, value := range all {
		pairs = append(pairs, name+"="+value)
	}
	return pairs
}

// run runs a step where the image's files are, with this machine's Go and its
// caches in place of the image's.
func (i *image) run(c *instructions.RunCommand) error {
	environment := i.environment()
	for _, mount := range instructions.GetMounts(c) {
		if mount.Type != instructions.MountTypeCache {
			return fmt.Errorf("a mount of type %s", mount.Type)
		}
		environment = slices.DeleteFunc(environment, func(pair string) bool { return strings.HasSuffix(pair, "="+mount.Target) })
	}
	if !c.PrependShell {
		return fmt.Errorf("the form with brackets")
	}
	cmd := exec.Command("sh", append([]string{"-c"}, c.CmdLine...)...)
	cmd.Dir = i.file(i.workdir)
	cmd.Env = append(os.Environ(), environment...)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, output)
	}
	return nil
}

// copy copies files of the context, less those that .dockerignore names, or of
// another stage.
func (b *builder) copy(i *image, c *instructions.CopyCommand) error {
	from, ignored := repository, b.ignored
	if c.From != "" {
		other, err := b.stage(c.From)
		if err != nil {
			return err
		}
		from, ignored = other.root, func(string) (bool, error) { return false, nil }
	}
	for _, source := range c.SourcePaths {
		source = strings.TrimPrefix(path.Clean(source), "/")
		if err := copyTree(filepath.Join(from, filepath.FromSlash(source)), i.file(c.DestPath), func(inside string) (bool, error) {
			return ignored(path.Join(source, inside))
		}); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) ignored(name string) (bool, error) { return b.ignore.MatchesOrParentMatches(name) }

// copyTree copies a file, or a folder's content, as COPY does where the
// destination doesn't end in a slash. A source of which nothing is left is an error.
func copyTree(source, destination string, ignored func(inside string) (bool, error)) error {
	copied := 0
	err := filepath.WalkDir(source, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		inside, err := filepath.Rel(source, name)
		if err != nil {
			return err
		}
		if skip, err := ignored(filepath.ToSlash(inside)); skip || err != nil {
			return err
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(destination, inside)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		copied++
		return os.WriteFile(target, content, info.Mode().Perm())
	})
	if err == nil && copied == 0 {
		err = fmt.Errorf("%s: nothing to copy: .dockerignore leaves nothing of it", source)
	}
	return err
}
