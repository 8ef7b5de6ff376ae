// Package gobuild builds programs that only tests need, each in a module of its own, so
// that their requirements do not become ours.
package gobuild

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/orderhub/orderhub/scripts/internal/must"
)

// Program is a program to build.
type Program struct {
	Name            string
	Module, Version string
	Package         string // its main package, of Module; "" where Main is set
	Main            []byte // a main.go of our own that uses Module
	// Requires are further modules that Main uses, as module@version.
	Requires []string
}

// Binary returns the path of the built program. It is built once, into the user's cache.
func Binary(ctx context.Context, p Program) (path string, err error) {
	err = must.Try(func() { path = p.build(ctx) })
	return path, err
}

func (p Program) build(ctx context.Context) string {
	folder := filepath.Join(must.Get(os.UserCacheDir()), "orderhub")
	path := filepath.Join(folder, p.Name+"-"+p.Version)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	must.Succeed(os.MkdirAll(folder, 0o755))
	module := must.Get(os.MkdirTemp(folder, "build-"))
	defer func() { _ = os.RemoveAll(module) }()
	steps := [][]string{{"mod", "init", "build"}, append([]string{"get", p.Module + "@" + p.Version}, p.Requires...)}
	if p.Main != nil {
		p.Package = "."
		steps = append(steps, []string{"mod", "tidy"})
		must.Succeed(os.WriteFile(filepath.Join(module, "main.go"), p.Main, 0o600))
	}
	for _, args := range append(steps, []string{"build", "-o", "program", p.Package}) {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = module
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
		if output, err := cmd.CombinedOutput(); err != nil {
			must.Succeed(fmt.Errorf("build %s: go %v: %w\n%s", p.Name, args, err, output))
		}
	}
	must.Succeed(os.Rename(filepath.Join(module, "program"), path)) // at once, for others that build it too
	return path
}
