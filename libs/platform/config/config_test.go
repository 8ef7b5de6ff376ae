package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type testSettings struct {
	Kafka    Kafka
	Database Database
	Log      Log
	Wait     time.Duration `env:"TEST_WAIT" envDefault:"2s" help:"how long"`
	Count    int           `env:"TEST_COUNT" envDefault:"3" help:"how many"`
	Token    Secret        `env:"TEST_TOKEN" help:"who"`
}

// inEmptyFolder leaves no .env file and no variables of ours.
func inEmptyFolder(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "KAFKA_") || strings.HasPrefix(name, "TEST_") || strings.HasPrefix(name, "LOG_") || name == "DATABASE_URL" || name == dotenvPath {
			t.Setenv(name, "")
		}
	}
}

func TestDefaults(t *testing.T) {
	inEmptyFolder(t)
	var s testSettings
	require.NoError(t, Load(&s))
	require.Equal(t, []string{"localhost:9092"}, s.Kafka.Brokers)
	require.Equal(t, "orders", s.Kafka.Topic)
	require.Equal(t, "orders.dlq", s.Kafka.DLQTopic)
	require.Equal(t, "info", s.Log.Level)
	require.Equal(t, "json", s.Log.Format)
	require.Equal(t, 2*time.Second, s.Wait)
	require.Contains(t, s.Database.URL.Reveal(), "@localhost:5432/orders")
}

func TestAServiceHasADefaultOfItsOwn(t *testing.T) {
	inEmptyFolder(t)
	var s struct {
		Service `ADMIN_ADDR:"127.0.0.1:9999"`
	}
	require.NoError(t, Load(&s))
	require.Equal(t, "127.0.0.1:9999", s.AdminAddr)
	require.Equal(t, 10*time.Second, s.StopTimeout)
	t.Setenv("ADMIN_ADDR", ":1")
	require.NoError(t, Load(&s))
	require.Equal(t, ":1", s.AdminAddr)
	for name, value := range map[string]string{"ADMIN_ADDR": "nowhere", "STOP_TIMEOUT": "0s"} {
		t.Setenv(name, value)
		require.ErrorContains(t, Load(&s), name+": ")
	}
}

func TestProfilesBeyondTheLoopbackNeedAToken(t *testing.T) {
	inEmptyFolder(t)
	for addr, local := range map[string]bool{
		"127.0.0.1:9080": true, "localhost:1": true, "[::1]:1": true, "127.9.9.9:1": true, "[::ffff:127.0.0.1]:1": true,
		":9080": false, "0.0.0.0:1": false, "[::]:1": false, "192.0.2.1:1": false, "example.com:1": false,
	} {
		require.Equal(t, local, IsLoopback(addr), addr)
		t.Setenv("ADMIN_ADDR", addr)
		var s Service
		require.NoError(t, Load(&s), addr)
		s.AdminPprof = true
		if local {
			require.NoError(t, Check(&s), addr)
		} else {
			require.ErrorContains(t, Check(&s), "ADMIN_PPROF", addr)
		}
		s.AdminToken = "short"
		require.ErrorContains(t, Check(&s), "ADMIN_TOKEN: has 5 bytes")
		s.AdminToken = "ключ-ключ" // 17 bytes, 9 characters
		require.NoError(t, Check(&s), addr)
	}
}

func TestTheEnvironmentWinsOverTheFile(t *testing.T) {
	inEmptyFolder(t)
	require.NoError(t, os.WriteFile(".env", []byte("KAFKA_TOPIC=from-file\nKAFKA_DLQ_TOPIC=from-file\nTEST_COUNT=\n"), 0o600))
	t.Setenv("KAFKA_DLQ_TOPIC", "from-environment")
	var s testSettings
	require.NoError(t, Load(&s))
	require.Equal(t, "from-file", s.Kafka.Topic)
	require.Equal(t, 3, s.Count, "empty means not set")
}

func TestTheFileCanBeElsewhere(t *testing.T) {
	inEmptyFolder(t)
	path := filepath.Join(t.TempDir(), "other.env")
	require.NoError(t, os.WriteFile(path, []byte("KAFKA_TOPIC=elsewhere\n"), 0o600))
	t.Setenv(dotenvPath, path)
	var s testSettings
	require.NoError(t, Load(&s))
	require.Equal(t, "elsewhere", s.Kafka.Topic)

	t.Setenv(dotenvPath, path+".missing")
	require.ErrorContains(t, Load(&s), dotenvPath)
}

func TestDotenvKeepsWhatItSays(t *testing.T) {
	for line, want := range map[string]string{
		"A=se$2y$CRET#1":        "se$2y$CRET#1",
		`A="se$2y$CRET#1"`:      "se$2y$CRET#1",
		"A='se$2y$CRET#1'":      "se$2y$CRET#1",
		"A=${HOME}":             "${HOME}",
		`A=a\$b`:                "a$b",
		`A="a\$b"`:              "a$b",
		`A='a\$b'`:              `a\$b`,
		`A=C:\new\"x"`:          `C:\new\"x"`,
		`A="C:\\new\q"`:         `C:\new\q`,
		`A="say \"so\""`:        `say "so"`,
		"A=x # a comment":       "x",
		"A=x#y":                 "x#y",
		"A=# a comment":         "",
		`A="x # y" # a comment`: "x # y",
		"export A=x":            "x",
		" A = x ":               "x",
		"A=\u00a0\"x\"\u00a0":   "x",
		"A=x=y==":               "x=y==",
		"A=x\r":                 "x",
		"\ufeffA=x":             "x",
		"# c\r\n\r\nA=x\r\n":    "x",
		"A=\"x\ny\"":            "x\ny",
		`A="x\ty"`:              "x\ty",
		"A='it''s'":             "",
	} {
		values, err := parseDotenv([]byte(line))
		if line == "A='it''s'" {
			require.EqualError(t, err, "line 1: there is text after the closing quote")
			continue
		}
		require.NoError(t, err, line)
		require.Equal(t, map[string]string{"A": want}, values, line)
	}
}

func TestDotenvErrorsNameLineAndReasonAndNoValue(t *testing.T) {
	for content, reason := range map[string]string{
		"A=x\npassword hunter2\n":            "line 2: there is no =",
		"A=x\r\n\r\nB='hunter2":              "line 3: the quote ' is not closed",
		"A=\"x\ny\"\nB=\"hunter2":            `line 3: the quote " is not closed`,
		"A='hunter'2":                        "line 1: there is text after the closing quote",
		"=hunter2":                           "line 1: there is no name before the =",
		"A\u200b=hunter2":                    "line 1: the name contains U+200B",
		"hunter2 A=x":                        "line 1: what is before the = is no name",
		"A: hunter2":                         "line 1: there is no =",
		"A=x\nB=hunter2\xff":                 "line 2: not UTF-8",
		"\xff\xfeA\x00=\x00h\x00u\x00\n\x00": "the file is UTF-16",
	} {
		_, err := parseDotenv([]byte(content))
		require.ErrorContains(t, err, reason)
		require.NotContains(t, err.Error(), "hunter")
	}
}

func FuzzDotenv(f *testing.F) {
	f.Add([]byte("A=\"x\ny\" # c\nexport B='z'\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		values, err := parseDotenv(content)
		if err == nil {
			for name := range values {
				require.Regexp(t, variableName, name)
			}
		}
	})
}

func TestLineBreaksAtTheEndOfValuesAreRemoved(t *testing.T) {
	inEmptyFolder(t)
	t.Setenv("TEST_TOKEN", "hunter2\r\n")
	t.Setenv("KAFKA_TLS_CA_FILE", "ca.pem\n")
	t.Setenv("KAFKA_TLS", "true\n")
	t.Setenv("TEST_COUNT", "\n")
	var s testSettings
	require.NoError(t, Load(&s))
	require.Equal(t, "hunter2", s.Token.Reveal())
	require.Equal(t, "ca.pem", s.Kafka.TLSCAFile)
	require.Equal(t, 3, s.Count, "nothing but a line break means not set")

	t.Setenv("TEST_TOKEN", "hunter2\nhunter3")
	err := Load(&s)
	require.ErrorContains(t, err, "TEST_TOKEN: contains a line break")
	require.NotContains(t, err.Error(), "hunter")
}

func TestASecretMayBeInAFile(t *testing.T) {
	inEmptyFolder(t)
	write := func(content string) string {
		path := filepath.Join(t.TempDir(), "secret")
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	for _, content := range []string{"hunter2", "hunter2\n", "hunter2\r\n", "\ufeffhunter2\n"} {
		t.Setenv("TEST_TOKEN_FILE", write(content))
		var s testSettings
		require.NoError(t, Load(&s))
		require.Equal(t, "hunter2", s.Token.Reveal())
	}
	for content, reason := range map[string]string{
		"":                         "is empty",
		"\n":                       "is empty",
		strings.Repeat("x", 1<<17): "more than 65536 bytes",
	} {
		t.Setenv("TEST_TOKEN_FILE", write(content))
		err := Load(new(testSettings))
		require.ErrorContains(t, err, "TEST_TOKEN_FILE: ")
		require.ErrorContains(t, err, reason)
	}
	t.Setenv("TEST_TOKEN_FILE", write("hunter2\nhunter3"))
	require.ErrorContains(t, Load(new(testSettings)), "TEST_TOKEN: contains a line break")
	t.Setenv("TEST_TOKEN_FILE", "/nowhere/secret")
	require.ErrorContains(t, Load(new(testSettings)), "TEST_TOKEN_FILE: open /nowhere/secret: no such file")
	t.Setenv("TEST_TOKEN", "hunter3")
	require.EqualError(t, Load(new(testSettings)), "TEST_TOKEN and TEST_TOKEN_FILE: set one of them")

	// The environment replaces the .env file, whichever of the two names is used.
	require.NoError(t, os.WriteFile(".env", []byte("TEST_TOKEN_FILE=/nowhere/secret\n"), 0o600))
	t.Setenv("TEST_TOKEN_FILE", "")
	var s testSettings
	require.NoError(t, Load(&s))
	require.Equal(t, "hunter3", s.Token.Reveal())

	var help strings.Builder
	require.NoError(t, WriteSettings(&help, &s))
	require.Regexp(t, `(?m)^  TEST_TOKEN_FILE +file that holds TEST_TOKEN$`, help.String())
}

func TestAFileThatIsNoneIsRefusedWithoutQuotingIt(t *testing.T) {
	inEmptyFolder(t)
	require.NoError(t, os.WriteFile(".env", []byte("password hunter2\n"), 0o600))
	var s testSettings
	err := Load(&s)
	require.ErrorContains(t, err, ".env")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestEachWrongValueNamesItsVariable(t *testing.T) {
	for name, value := range map[string]string{
		"TEST_WAIT":             "soon",
		"TEST_COUNT":            "many",
		"LOG_LEVEL":             "loud",
		"LOG_FORMAT":            "xml",
		"KAFKA_BROKERS":         "localhost",
		"KAFKA_TOPIC":           "no spaces",
		"KAFKA_DLQ_TOPIC":       "orders",
		"KAFKA_TLS":             "perhaps",
		"KAFKA_TLS_CA_FILE":     "/nowhere",
		"KAFKA_SASL_MECHANISM":  "GSSAPI",
		"KAFKA_SASL_PLAINTEXT":  "perhaps",
		"KAFKA_TLS_CERT_FILE":   "cert.pem",
		"KAFKA_TLS_SERVER_NAME": "kafka",
	} {
		t.Run(name, func(t *testing.T) {
			inEmptyFolder(t)
			t.Setenv(name, value)
			var s testSettings
			require.ErrorContains(t, Load(&s), strings.TrimSuffix(strings.TrimSuffix(name, "_CA_FILE"), "_SERVER_NAME"))
		})
	}
}

// A login that others on the network could read is refused, and the message names both
// ways out.
func TestLogins(t *testing.T) {
	user := map[string]string{"KAFKA_SASL_USERNAME": "u", "KAFKA_SASL_PASSWORD": "p"}
	client := map[string]string{"KAFKA_SASL_OAUTH_TOKEN_URL": "https://login.example/token", "KAFKA_SASL_OAUTH_CLIENT_ID": "c", "KAFKA_SASL_OAUTH_CLIENT_SECRET": "s"}
	region := map[string]string{"KAFKA_SASL_AWS_REGION": "eu-central-1"}
	secure, allowed := map[string]string{"KAFKA_TLS": "true"}, map[string]string{"KAFKA_SASL_PLAINTEXT": "allow"}
	for _, c := range []struct {
		mechanism string
		settings  []map[string]string
		refusals  []string
	}{
		{"PLAIN", []map[string]string{user}, []string{"PLAIN without TLS", "KAFKA_TLS=true", "KAFKA_SASL_PLAINTEXT=allow"}},
		{"PLAIN", []map[string]string{user, secure}, nil},
		{"PLAIN", []map[string]string{user, allowed}, nil},
		{"PLAIN", []map[string]string{secure}, []string{"KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"}},
		{"SCRAM-SHA-256", []map[string]string{user}, nil},
		{"SCRAM-SHA-512", []map[string]string{user}, nil},
		{"SCRAM-SHA-512", nil, []string{"KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"}},
		{"OAUTHBEARER", []map[string]string{client}, []string{"OAUTHBEARER without TLS"}},
		{"OAUTHBEARER", []map[string]string{client, secure}, nil},
		{"OAUTHBEARER", []map[string]string{client, allowed}, nil},
		{"OAUTHBEARER", []map[string]string{secure}, []string{"needs all three"}},
		{"OAUTHBEARER", []map[string]string{client, secure, {"KAFKA_SASL_OAUTH_TOKEN_URL": "http://login.example/token"}}, []string{"KAFKA_SASL_OAUTH_TOKEN_URL: http would send"}},
		{"OAUTHBEARER", []map[string]string{client, allowed, {"KAFKA_SASL_OAUTH_TOKEN_URL": "http://login.example/token"}}, nil},
		{"OAUTHBEARER", []map[string]string{client, secure, {"KAFKA_SASL_OAUTH_TOKEN_URL": "https://u:hunter2@login.example"}}, []string{"KAFKA_SASL_OAUTH_TOKEN_URL: not an address"}},
		{"AWS_MSK_IAM", []map[string]string{region, secure}, nil},
		{"AWS_MSK_IAM", []map[string]string{region}, []string{"AWS_MSK_IAM without TLS"}},
		{"AWS_MSK_IAM", []map[string]string{secure}, []string{"KAFKA_SASL_AWS_REGION"}},
	} {
		inEmptyFolder(t)
		t.Setenv("KAFKA_SASL_MECHANISM", c.mechanism)
		for _, settings := range c.settings {
			for name, value := range settings {
				t.Setenv(name, value)
			}
		}
		err := Load(new(testSettings))
		if c.refusals == nil {
			require.NoError(t, err, "%s %v", c.mechanism, c.settings)
			continue
		}
		for _, refusal := range c.refusals {
			require.ErrorContains(t, err, refusal)
		}
		require.NotContains(t, err.Error(), "hunter2")
	}
}

// The file of a secret may change while a program runs.
func TestASecretsFileIsReadAnew(t *testing.T) {
	inEmptyFolder(t)
	path := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(path, []byte("before\n"), 0o600))
	t.Setenv("KAFKA_SASL_PASSWORD_FILE", path+"\n")
	var s testSettings
	require.NoError(t, Load(&s))
	require.Equal(t, "before", s.Kafka.SASLPassword.Reveal())
	require.NoError(t, os.WriteFile(path, []byte("after\n"), 0o600))
	now, err := s.Kafka.SASLPassword.Now(s.Kafka.SASLPasswordFile)
	require.NoError(t, err)
	require.Equal(t, "after", now.Reveal())
	now, err = s.Kafka.SASLPassword.Now("")
	require.NoError(t, err)
	require.Equal(t, "before", now.Reveal())

	var help strings.Builder
	require.NoError(t, WriteSettings(&help, &s))
	require.Equal(t, 1, strings.Count(help.String(), "KAFKA_SASL_PASSWORD_FILE"))
}

func TestAllWrongValuesAreNamedAtOnce(t *testing.T) {
	inEmptyFolder(t)
	t.Setenv("LOG_LEVEL", "loud")
	t.Setenv("KAFKA_TOPIC", "no spaces")
	var s testSettings
	err := Load(&s)
	require.ErrorContains(t, err, "LOG_LEVEL")
	require.ErrorContains(t, err, "KAFKA_TOPIC")
}

func TestSecretsAreNotShown(t *testing.T) {
	inEmptyFolder(t)
	t.Setenv("TEST_TOKEN", "hunter2")
	t.Setenv("DATABASE_URL", "postgres://u:hunter2@h:5432/orders?sslpassword=hunter2")
	s := testSettings{}
	require.NoError(t, Load(&s))
	require.Equal(t, "***", s.Token.String())
	require.NotContains(t, s.Database.URL.String(), "hunter2")
	require.Contains(t, s.Database.URL.String(), "h:5432/orders")
	text, err := s.Token.MarshalText()
	require.NoError(t, err)
	require.Equal(t, "***", string(text))

	var help strings.Builder
	require.NoError(t, WriteHelp(&help, "test", "About.", &s))
	require.NotContains(t, help.String(), "hunter2")
	for _, name := range []string{"KAFKA_BROKERS", "KAFKA_SASL_PASSWORD", "DATABASE_URL", "LOG_LEVEL", "TEST_WAIT"} {
		require.Contains(t, help.String(), name)
	}
}
