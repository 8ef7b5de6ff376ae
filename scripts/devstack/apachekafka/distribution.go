package apachekafka

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed" // the pom
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/orderhub/orderhub/scripts/internal/must"
)

// CacheVariable is the environment variable that names the folder where Kafka's
// archives are kept. By default that is the user's cache folder.
const CacheVariable = "ORDERHUB_KAFKA_CACHE"

// VersionVariable is the environment variable that names another version of Kafka than
// that of pom.xml.
const VersionVariable = "ORDERHUB_KAFKA_VERSION"

// pom says which archives Kafka is made of. Where they come from is a matter of
// the machine's own Maven settings.
//
//go:embed pom.xml
var pom []byte

var kafkaVersion = regexp.MustCompile(`(<artifactId>kafka[^<]*</artifactId>\s*<version>)[^<]*<`)

// MissingError says that this machine lacks a program.
type MissingError struct{ Program string }

func (e *MissingError) Error() string {
	return e.Program + " is not on PATH: Apache Kafka needs a JDK (17 or later), and Maven to be fetched with"
}

// Distribution is Kafka's archives, with the Java that runs them.
type Distribution struct {
	dir  string // of the archives
	java string
}

// Fetch finds Kafka's archives in the cache folder, or has Maven fetch them into
// it, once, and says so on standard error. A program that is missing is a
// [*MissingError].
func Fetch(ctx context.Context) (*Distribution, error) {
	pom := pom
	if version := os.Getenv(VersionVariable); version != "" {
		pom = kafkaVersion.ReplaceAll(pom, []byte("${1}"+version+"<"))
	}
	return FetchPOM(ctx, "apache-kafka", pom)
}

// FetchPOM is Fetch for the archives that another pom.xml names, in a folder whose name
// begins with name.
func FetchPOM(ctx context.Context, name string, pom []byte) (*Distribution, error) {
	d := &Distribution{}
	return d, must.Cause(func() {
		d.java = must.Get(lookPath("java"))
		cache := os.Getenv(CacheVariable)
		if cache == "" {
			cache = filepath.Join(must.Get(os.UserCacheDir()), "orderhub")
		}
		sum := sha256.Sum256(pom)
		d.dir = filepath.Join(must.Get(filepath.Abs(cache)), fmt.Sprintf("%s-%x", name, sum[:4]))
		if _, err := os.Stat(d.dir); err != nil {
			maven := must.Get(lookPath("mvn"))
			_, _ = fmt.Fprintf(os.Stderr, "fetching %s with Maven into %s\n", name, d.dir)
			d.download(ctx, maven, pom)
		}
	})
}

func lookPath(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return "", &MissingError{Program: program}
	}
	return path, nil
}

// download fetches the archives, all or none.
func (d *Distribution) download(ctx context.Context, maven string, pom []byte) {
	must.Succeed(os.MkdirAll(filepath.Dir(d.dir), 0o755))
	work := must.Get(os.MkdirTemp(filepath.Dir(d.dir), "fetching-"))
	defer func() { _ = os.RemoveAll(work) }() // what stays harms nothing
	must.Succeed(os.WriteFile(filepath.Join(work, "pom.xml"), pom, 0o600))
	archives := filepath.Join(work, "archives")
	cmd := exec.CommandContext(ctx, maven, "--batch-mode", "--quiet", "dependency:copy-dependencies", "-DoutputDirectory="+archives)
	cmd.Dir = work
	if output, err := cmd.CombinedOutput(); err != nil {
		must.Succeed(fmt.Errorf("mvn: %w\n%s", err, bytes.TrimSpace(output)))
	}
	if err := os.Rename(archives, d.dir); !errors.Is(err, os.ErrExist) {
		must.Succeed(err) // another process may have been quicker, which is as good
	}
}

// Java prepares a program of Kafka's, or one that uses Kafka's client and lies
// in one of the further folders of classes. It starts quickly rather than runs
// fast. Options for Java in this process's environment have no say.
func (d *Distribution) Java(heap, class string, arguments []string, folders ...string) *exec.Cmd {
	classpath := filepath.Join(d.dir, "*")
	for _, folder := range folders {
		classpath += string(os.PathListSeparator) + folder
	}
	cmd := exec.Command(d.java, append([]string{
		"-Xmx" + heap,
		"-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
		"-XX:-UsePerfData", // a file in the machine's temporary folder
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-Dorg.slf4j.simpleLogger.log.org.apache.kafka.coordinator.group=info",
		"-Dorg.slf4j.simpleLogger.log.kafka.server.KafkaRaftServer=info",
		"-Dorg.slf4j.simpleLogger.showDateTime=true",
		"-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
		"-cp", classpath, class,
	}, arguments...)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return name == "JAVA_TOOL_OPTIONS" || name == "JDK_JAVA_OPTIONS" || name == "CLASSPATH"
	})
	return cmd
}

// Tool prepares a tool of Kafka's, such as org.apache.kafka.tools.ConsoleProducer.
func (d *Distribution) Tool(class string, arguments ...string) *exec.Cmd {
	return d.Java("128m", class, arguments)
}

// Compile compiles a Java source file that uses Kafka's client into a folder.
func (d *Distribution) Compile(ctx context.Context, source, folder string) error {
	javac, err := lookPath("javac")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, javac, "-cp", filepath.Join(d.dir, "*"), "-d", folder, "-proc:none", source)
	if output, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compile %s: %w\n%s", source, err, output)
	}
	return nil
}
