package kafkaconn_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	kafkasasl "github.com/segmentio/kafka-go/sasl"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"

	"github.com/orderhub/orderhub/libs/platform/config"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/franz"
	"github.com/orderhub/orderhub/libs/platform/kafkaconn/kafkago"
)

// firsts are what each client sends first at a login.
func firsts(t *testing.T, cfg config.KafkaConn) map[string]func() (string, error) {
	t.Helper()
	options, err := franz.Options(cfg)
	require.NoError(t, err)
	client, err := kgo.NewClient(options...)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	login, _ := client.OptValue(kgo.SASL).([]sasl.Mechanism)
	dialer, err := kafkago.Dialer(cfg)
	require.NoError(t, err)
	return map[string]func() (string, error){
		"franz-go": func() (string, error) {
			_, message, err := login[0].Authenticate(t.Context(), "a:1")
			return string(message), err
		},
		"kafka-go": func() (string, error) {
			_, message, err := dialer.SASLMechanism.Start(t.Context())
			return string(message), err
		},
	}
}

// Both clients log in with what the password's file holds at that time.
func TestTheNextLoginUsesARotatedPassword(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("before\n"), 0o600))
	cfg := config.KafkaConn{Brokers: []string{"a:1"}, SASLMechanism: "PLAIN", SASLUsername: "u", SASLPassword: "before", SASLPasswordFile: file}
	for name, first := range firsts(t, cfg) {
		require.NoError(t, os.WriteFile(file, []byte("before\n"), 0o600))
		message, err := first()
		require.NoError(t, err)
		require.Equal(t, "\x00u\x00before", message, name)
		require.NoError(t, os.WriteFile(file, []byte("after\r\n"), 0o600))
		message, err = first()
		require.NoError(t, err)
		require.Equal(t, "\x00u\x00after", message, name)
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		_, err = first()
		require.ErrorContains(t, err, "KAFKA_SASL_PASSWORD_FILE: "+file+" is empty")
	}
}

// A token is kept while it is valid, is replaced before its end, and the client's secret
// may be rotated meanwhile.
func TestTokensOfClientCredentials(t *testing.T) {
	var asked atomic.Int32
	life, secret := 3600, "s3cret-one"
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		id, given, _ := r.BasicAuth()
		if id != "worker" || given != url.QueryEscape(secret) || r.FormValue("grant_type") != "client_credentials" || r.FormValue("scope") != "kafka orders" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprintf(w, `{"error":"invalid_client","error_description":"not %s"}`, given)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":%d}`, asked.Load(), life)
	}))
	t.Cleanup(issuer.Close)
	file := filepath.Join(t.TempDir(), "secret")
	rotate := func(to string) { require.NoError(t, os.WriteFile(file, []byte(to+"\n"), 0o600)) }
	for name := range map[string]bool{"franz-go": true, "kafka-go": true} {
		t.Run(name, func(t *testing.T) {
			asked.Store(0)
			life, secret = 3600, "s3cret-one"
			rotate(secret)
			cfg := config.KafkaConn{
				Brokers: []string{"a:1"}, SASLMechanism: "OAUTHBEARER", OAuthTokenURL: issuer.URL, OAuthClientID: "worker",
				OAuthClientSecret: "s3cret-one", OAuthClientSecretFile: file, OAuthScope: "kafka orders",
			}
			login := firsts(t, cfg)[name]
			for range 3 {
				message, err := login()
				require.NoError(t, err)
				require.Equal(t, "n,,\x01auth=Bearer token-1\x01\x01", message)
			}
			life = 20 // less than what is left of a token when it is replaced
			login = firsts(t, cfg)[name]
			for n := range 3 {
				message, err := login()
				require.NoError(t, err)
				require.Contains(t, message, fmt.Sprint("token-", n+2))
			}
			secret = "s3cret-two"
			_, err := login()
			require.ErrorContains(t, err, "KAFKA_SASL_OAUTH_CLIENT_SECRET")
			require.ErrorContains(t, err, "401 Unauthorized invalid_client")
			require.NotContains(t, err.Error(), "s3cret")
			rotate(secret)
			_, err = login()
			require.NoError(t, err)
		})
	}
}

// The secret goes to the token's address alone.
func TestATokenAddressThatRedirectsIsNotFollowed(t *testing.T) {
	var followed atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed.Store(true) }))
	t.Cleanup(elsewhere.Close)
	issuer := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(issuer.Close)
	cfg := config.KafkaConn{Brokers: []string{"a:1"}, SASLMechanism: "OAUTHBEARER", OAuthTokenURL: issuer.URL, OAuthClientID: "c", OAuthClientSecret: "s"}
	for _, login := range firsts(t, cfg) {
		_, err := login()
		require.ErrorContains(t, err, "307")
	}
	require.False(t, followed.Load())
}

// What a broker says against a token is in the error.
func TestARefusedTokenIsExplained(t *testing.T) {
	cfg := config.KafkaConn{Brokers: []string{"a:1"}, SASLMechanism: "OAUTHBEARER"}
	refusal := []byte(`{"status":"invalid_token"}`)
	options, err := franz.Options(cfg)
	require.NoError(t, err)
	client, err := kgo.NewClient(options...)
	require.NoError(t, err)
	t.Cleanup(client.Close)
	login, _ := client.OptValue(kgo.SASL).([]sasl.Mechanism)
	session, _ := login[0].(sasl.Session)
	_, _, err = session.Challenge(refusal)
	require.ErrorContains(t, err, `refuses the token: "invalid_token"`)
	dialer, err := kafkago.Dialer(cfg)
	require.NoError(t, err)
	machine, _ := dialer.SASLMechanism.(kafkasasl.StateMachine)
	_, _, err = machine.Next(t.Context(), refusal)
	require.ErrorContains(t, err, `refuses the token: "invalid_token"`)
	done, _, err := machine.Next(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, done)
}

// There is no AWS in tests: this checks the token's form, and that the default chain of
// credentials signed it.
func TestTokensOfAWS(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "aws-s3cret")
	t.Setenv("AWS_SESSION_TOKEN", "session")
	cfg := config.KafkaConn{Brokers: []string{"a:1"}, SASLMechanism: "AWS_MSK_IAM", AWSRegion: "eu-central-1"}
	for name, first := range firsts(t, cfg) {
		t.Run(name, func(t *testing.T) {
			message, err := first()
			require.NoError(t, err)
			token := strings.TrimSuffix(strings.TrimPrefix(message, "n,,\x01auth=Bearer "), "\x01\x01")
			decoded, err := base64.RawURLEncoding.DecodeString(token)
			require.NoError(t, err)
			signed, err := url.Parse(string(decoded))
			require.NoError(t, err)
			require.Equal(t, "kafka.eu-central-1.amazonaws.com", signed.Host)
			query := signed.Query()
			require.Equal(t, "kafka-cluster:Connect", query.Get("Action"))
			require.Equal(t, "AWS4-HMAC-SHA256", query.Get("X-Amz-Algorithm"))
			require.Regexp(t, `^AKIDEXAMPLE/\d{8}/eu-central-1/kafka-cluster/aws4_request$`, query.Get("X-Amz-Credential"))
			require.Equal(t, "session", query.Get("X-Amz-Security-Token"))
			require.Equal(t, "host", query.Get("X-Amz-SignedHeaders"))
			require.Equal(t, "900", query.Get("X-Amz-Expires"))
			require.Regexp(t, `^[0-9a-f]{64}$`, query.Get("X-Amz-Signature"))
			require.NotContains(t, string(decoded), "aws-s3cret")
			again, err := first()
			require.NoError(t, err)
			require.Equal(t, message, again, "the token is kept")
		})
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", "/absent")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/absent")
	for name, first := range firsts(t, cfg) {
		_, err := first()
		require.ErrorContains(t, err, "finds no credentials of AWS", name)
	}
}
