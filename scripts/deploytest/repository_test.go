package deploytest

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// repository is the folder of the whole, which is also the images' build context.
const repository = "../.."

func inRepository(path ...string) string {
	return filepath.Join(append([]string{repository}, path...)...)
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(inRepository(path...))
	require.NoError(t, err)
	return content
}

func readYAML[T any](t *testing.T, path ...string) (parsed T) {
	t.Helper()
	require.NoError(t, yaml.Unmarshal(read(t, path...), &parsed), "%v", path)
	return parsed
}
