// Package binaries builds the services' programs for tests. It uses the flags of
// `make build` and of the Dockerfile, so that Go's build cache serves all of them.
package binaries

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Build puts the services' programs, and those of further packages, into folder.
// The packages are paths from the repository's root, such as ./scripts/cmd/stack.
func Build(folder string, further ...string) error {
	_, file, _, _ := runtime.Caller(0)
	packages := append([]string{
		"./services/ingest-worker/cmd/ingest-worker", "./services/nats-bridge/cmd/nats-bridge",
		"./services/read-api/cmd/read-api", "./services/orderctl/cmd/orderctl",
	}, further...)
	cmd := exec.Command("go", append([]string{"build", "-trimpath", "-ldflags", "-s -w", "-o", folder + string(filepath.Separator)}, packages...)...)
	cmd.Dir = filepath.Join(filepath.Dir(file), "..", "..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the services: %w\n%s", err, output)
	}
	return nil
}
