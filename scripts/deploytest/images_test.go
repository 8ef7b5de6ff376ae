package deploytest

import (
	"debug/elf"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var targets = []string{"ingest-worker", "nats-bridge", "read-api", "orderctl"}

func TestEachImageBuildsFromWhatItCopies(t *testing.T) {
	for _, target := range targets {
		t.Run(target, func(t *testing.T) {
			i := build(t, target)
			require.Equal(t, "scratch", i.base)
			require.Equal(t, []string{"/" + target}, i.entrypoint)
			uid, _, _ := strings.Cut(i.user, ":")
			number, err := strconv.Atoi(uid)
			require.NoError(t, err, "Kubernetes can tell that a user isn't root by its number only")
			require.NotZero(t, number)
			require.FileExists(t, i.file("/etc/ssl/certs/ca-certificates.crt"))

			files, err := filepath.Glob(filepath.Join(i.root, "*"))
			require.NoError(t, err)
			version, wanted := "--version", 2
			if target == "orderctl" {
				version, wanted = "version", 3 // and the console's state
			}
			require.Len(t, files, wanted, "more than the program and the certificates: %v", files)
			output, err := exec.Command(i.program(), version).CombinedOutput()
			require.NoError(t, err, "%s", output)
			require.Contains(t, string(output), target)
			require.Contains(t, string(output), runtime.Version())
			require.Contains(t, string(output), "v9.8.7-test, revision 0123456789abcdef, ")
			for label, value := range map[string]string{"title": "Orderhub", "version": "v9.8.7-test", "revision": "0123456789abcdef", "licenses": "MIT"} {
				require.Equal(t, value, i.labels["org.opencontainers.image."+label])
			}
		})
	}
}

func TestProgramsNeedNoLibraries(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("SKIPPED: that the programs need no libraries, which takes ELF")
	}
	for _, target := range targets {
		t.Run(target, func(t *testing.T) {
			file, err := elf.Open(build(t, target).program())
			require.NoError(t, err)
			defer func() { require.NoError(t, file.Close()) }()
			for _, segment := range file.Progs {
				require.NotEqual(t, elf.PT_INTERP, segment.Type, "an image from scratch has no loader and no libc")
			}
			require.Nil(t, file.Section(".symtab"), "the symbols are of no use there")
		})
	}
}

func TestTheBuildersGoIsTheModules(t *testing.T) {
	wanted := regexp.MustCompile(`(?m)^go (\d+\.\d+)\.`).FindSubmatch(read(t, "go.work"))
	require.NotNil(t, wanted)
	b, err := images()
	require.NoError(t, err)
	require.Regexp(t, "^golang:"+regexp.QuoteMeta(string(wanted[1]))+`\.\d+(@sha256:[0-9a-f]{64})?$`, b.stages[0].BaseName)
}
