package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/orderhub/orderhub/scripts/devstack/broker"
	"github.com/orderhub/orderhub/scripts/devstack/postgres"
)

// secretLine is the line of --help for the file of a secret.
var secretLine = regexp.MustCompile(`(?m)^  ([A-Z0-9_]+)_FILE +file that holds`)

// planted are the secrets that a program is given, by setting, and how each may be
// written.
type planted map[string]string

// plant makes a secret for each setting of the program that takes one: a new setting is
// covered without a change here. addresses are the settings that are addresses with a
// password, by their text with a %s for it.
func plant(t *testing.T, program string, arguments []string, addresses map[string]string) (secrets planted, env []string) {
	t.Helper()
	help, err := exec.Command(filepath.Join(programs, program), append(slices.Clone(arguments), "--help")...).CombinedOutput()
	require.NoError(t, err, "%s", help)
	secrets = planted{}
	for _, match := range secretLine.FindAllStringSubmatch(string(help), -1) {
		name := match[1]
		// 32 characters, with some that addresses and JSON write differently.
		secret := fmt.Sprintf("%-32s", "pl4nted/+"+strings.ReplaceAll(strings.ToLower(name), "_", "-"))
		secret = strings.ReplaceAll(secret[:32], " ", "=")
		value := secret
		if address, ok := addresses[name]; ok {
			value = strings.Replace(address, "%s", url.QueryEscape(secret), 1)
		} else if strings.HasSuffix(name, "_KEY") {
			value = base64.StdEncoding.EncodeToString([]byte(secret))
		}
		secrets[name] = secret
		env = append(env, name+"="+value)
	}
	require.NotEmpty(t, secrets)
	return secrets, env
}

// requireNone fails where a text has a secret in some form.
func (s planted) requireNone(t *testing.T, what, text string) {
	t.Helper()
	for name, secret := range s {
		forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret), hex.EncodeToString([]byte(secret))}
		for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			for shift := range 3 { // as a part of something longer
				encoded := encoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
				forms = append(forms, encoded[4:len(encoded)-4])
			}
		}
		for _, form := range forms {
			if at := strings.Index(text, form); at >= 0 {
				t.Errorf("%s has the secret of %s: …%s…", what, name, text[max(0, at-200):min(len(text), at+len(form)+50)])
				break
			}
		}
	}
}

// TestNoSecretIsPrinted runs every program with a secret in each setting that takes one,
// and searches all that it prints or answers: when its stores are away, refuse the login,
// or are named wrongly, at --help, and when it crashes.
func TestNoSecretIsPrinted(t *testing.T) {
	// Stores that refuse every login. The issuer of tokens even repeats what it was sent.
	kafka := broker.StartForTest(t, broker.Options{Extra: []kfake.Opt{
		kfake.EnableSASL(), kfake.Superuser("PLAIN", "someone", "else"), kfake.Superuser("SCRAM-SHA-512", "someone", "else"),
	}})
	database := newPipelineOn(t, postgres.ForTest(t)).database
	refusing, err := url.Parse(database)
	require.NoError(t, err)
	nats, err := natsd.NewServer(&natsd.Options{Host: "127.0.0.1", Port: natsd.RANDOM_PORT, Username: "someone", Password: "else", NoLog: true, NoSigs: true})
	require.NoError(t, err)
	nats.Start()
	t.Cleanup(func() { nats.Shutdown(); nats.WaitForShutdown() })
	require.True(t, nats.ReadyForConnections(deadline))
	var asked atomic.Int32
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		_, secret, _ := r.BasicAuth()
		secret += r.FormValue("client_secret") // it is sent in either place, one after the other
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprintf(w, `{"error":"invalid_client","error_description":"no client has the secret %s"}`, secret)
	}))
	t.Cleanup(issuer.Close)
	// kfake knows no OAUTHBEARER: it is made to accept the mechanism, so that a token is asked for.
	bearer := broker.StartForTest(t, broker.Options{Extra: []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("PLAIN", "someone", "else")}})
	bearer.Cluster().ControlKey(int16(kmsg.SASLHandshake), func(request kmsg.Request) (kmsg.Response, error, bool) {
		bearer.Cluster().KeepControl()
		return request.ResponseKind(), nil, true
	})
	natsAddress := "nats://user:%s@" + strings.TrimPrefix(nats.ClientURL(), "nats://")

	const away, hook = "127.0.0.1:1", "http://127.0.0.1:1/%s"
	worlds := map[string]struct {
		addresses map[string]string
		settings  []string
	}{
		"away": {
			map[string]string{"DATABASE_URL": "postgres://orders:%s@" + away + "/orders", "DATABASE_LISTEN_URL": "postgres://orders:%s@" + away + "/orders", "NATS_URL": "nats://user:%s@" + away, "LETTERS_WEBHOOK_URL": hook},
			[]string{"KAFKA_BROKERS=" + away, "KAFKA_SASL_MECHANISM=OAUTHBEARER", "KAFKA_SASL_OAUTH_TOKEN_URL=http://" + away, "LOG_LEVEL=debug"},
		},
		"refusing": {
			map[string]string{
				"DATABASE_URL":        "postgres://orders:%s@" + refusing.Host + refusing.Path,
				"DATABASE_LISTEN_URL": "postgres://orders:%s@" + refusing.Host + refusing.Path,
				"NATS_URL":            natsAddress,
				"LETTERS_WEBHOOK_URL": hook,
			},
			[]string{"KAFKA_BROKERS=" + kafka.Addr(), "KAFKA_SASL_MECHANISM=PLAIN", "KAFKA_SASL_USERNAME=user", "LOG_LEVEL=debug"},
		},
		"tokens": {
			map[string]string{"DATABASE_URL": database, "DATABASE_LISTEN_URL": "postgres://orders:%s@" + away + "/orders", "NATS_URL": natsAddress, "LETTERS_WEBHOOK_URL": hook},
			[]string{"KAFKA_BROKERS=" + bearer.Addr(), "KAFKA_SASL_MECHANISM=OAUTHBEARER", "KAFKA_SASL_OAUTH_TOKEN_URL=" + issuer.URL, "LOG_LEVEL=debug"},
		},
	}
	common := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "GO_DOTENV_PATH=", "KAFKA_SASL_PLAINTEXT=allow", "KAFKA_SASL_OAUTH_CLIENT_ID=client", "LOG_FORMAT=json", "GOTRACEBACK=system", "NATS_USER=user"}

	for program, arguments := range map[string][]string{"ingest-worker": nil, "read-api": nil, "nats-bridge": nil, "orderctl": {"dlq", "ui"}} {
		for name, world := range worlds {
			t.Run(program+"/"+name, func(t *testing.T) {
				secrets, env := plant(t, program, arguments, world.addresses)
				env = append(env, append(slices.Clone(common), world.settings...)...)
				if program == "nats-bridge" { // only one login
					env = slices.DeleteFunc(env, func(pair string) bool { return strings.HasPrefix(pair, "NATS_TOKEN=") })
				}
				s := &process{addr: freeAddr(t), admin: freeAddr(t)}
				env = append(env, "HTTP_ADDR="+s.addr, "ADMIN_ADDR="+s.admin)
				s.cmd = exec.Command(filepath.Join(programs, program), arguments...)
				s.cmd.Env, s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = env, t.TempDir(), &s.log, &s.log
				require.NoError(t, s.cmd.Start())
				until := time.Now().Add(deadline)
				var answers bytes.Buffer
				for range 20 { // while it tries
					for _, url := range []string{"http://" + s.admin + "/readyz", "http://" + s.admin + "/livez", "http://" + s.addr + "/", "http://" + s.addr + "/api/v1/orders", "http://" + s.addr + "/healthz"} {
						status, header, body := fetch(t, http.MethodGet, url, nil)
						fmt.Fprintln(&answers, url, status, header, body)
					}
					time.Sleep(50 * time.Millisecond)
					require.True(t, time.Now().Before(until))
				}
				for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/heap"} {
					status, header, body := fetch(t, http.MethodGet, "http://"+s.admin+path, nil)
					fmt.Fprintln(&answers, path, status, header, body)
				}
				require.NoError(t, s.cmd.Process.Signal(syscall.SIGQUIT))
				_ = s.cmd.Wait()
				require.Contains(t, s.log.String(), "goroutine ", "the crash was printed")
				if name == "tokens" && program != "read-api" {
					require.NotZero(t, asked.Swap(0), "the issuer was not asked")
				}
				secrets.requireNone(t, "the log or the crash", s.log.String())
				secrets.requireNone(t, "an answer", answers.String())

				help, err := command(t, env, program, append(slices.Clone(arguments), "--help")...)
				require.NoError(t, err)
				secrets.requireNone(t, "--help", help)
				for setting := range secrets { // each is wrong in turn
					wrong := slices.Clone(env)
					switch {
					case strings.HasSuffix(setting, "_URL"):
						wrong = append(wrong, setting+"=postgres://user:"+secrets[setting]+"@[wrong:port/%zz")
					default:
						wrong = append(wrong, setting+"="+secrets[setting]+"\n"+secrets[setting])
					}
					// Whatever else is right, the program does not run.
					output, _ := command(t, append(wrong, "KAFKA_BROKERS=nowhere", "DATABASE_MAX_CONNS=many", "HTTP_ADDR=nowhere"), program, arguments...)
					secrets.requireNone(t, "the refusal of "+setting, output)
				}
			})
		}
	}
	for name, arguments := range map[string][]string{
		"list": {"dlq", "list"}, "topics": {"topics"}, "migrate": {"migrate"}, "publish": {"publish", "--count", "1"},
		"publish to NATS": {"publish", "--count", "1", "--to", fmt.Sprintf(natsAddress, "pl4nted-by-argument") + "/orders"},
		"import":          {"import", "--from", "postgres://orders:pl4nted-by-argument@" + refusing.Host + refusing.Path},
		"import wrongly":  {"import", "--from", "postgres://orders:pl4nted-by-argument@[wrong"},
		"verify":          {"verify", "--against", "postgres://orders:pl4nted-by-argument@" + away + "/x"},
	} {
		t.Run("orderctl/"+name, func(t *testing.T) {
			secrets, env := plant(t, "orderctl", nil, worlds["refusing"].addresses)
			secrets["argument"] = "pl4nted-by-argument"
			env = append(env, append(slices.Clone(common), worlds["refusing"].settings...)...)
			env = slices.DeleteFunc(env, func(pair string) bool { return strings.HasPrefix(pair, "NATS_") })
			output, err := command(t, env, "orderctl", arguments...)
			require.Error(t, err, output)
			secrets.requireNone(t, "the output", output)
		})
	}
}

// command runs a program to its end, or until it has run for long.
func command(t *testing.T, env []string, program string, arguments ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(programs, program), arguments...)
	var output bytes.Buffer
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = env, t.TempDir(), &output, &output
	require.NoError(t, cmd.Start())
	timer := time.AfterFunc(deadline, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	return output.String(), err
}
