package kafkaconn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-msk-iam-sasl-signer-go/signer"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/orderhub/orderhub/libs/platform/config"
)

// SASL mechanisms, as KAFKA_SASL_MECHANISM spells them.
const (
	Plain       = "PLAIN"
	ScramSHA256 = "SCRAM-SHA-256"
	ScramSHA512 = "SCRAM-SHA-512"
	OAuthBearer = "OAUTHBEARER"
	AWSMSKIAM   = "AWS_MSK_IAM" // to the broker it is OAUTHBEARER as well, with a token that AWS's credentials sign
)

const (
	// renewBefore is how long before its end a token is replaced.
	renewBefore  = 30 * time.Second
	tokenTimeout = 5 * time.Second
)

// Password returns the present password of PLAIN and SCRAM.
func Password(cfg config.KafkaConn) (string, error) {
	password, err := cfg.SASLPassword.Now(cfg.SASLPasswordFile)
	if err != nil {
		return "", fmt.Errorf("KAFKA_SASL_PASSWORD_FILE: %w", err)
	}
	return password.Reveal(), nil
}

// Bearer logs in by OAUTHBEARER. It keeps a token until shortly before its end. Safe for
// concurrent use.
type Bearer struct{ tokens oauth2.TokenSource }

// NewBearer returns the login of OAUTHBEARER and AWS_MSK_IAM. It gets a token when one is
// needed first.
func NewBearer(cfg config.KafkaConn) Bearer {
	return Bearer{oauth2.ReuseTokenSourceWithExpiry(nil, issuer{cfg}, renewBefore)}
}

// Message returns what a client sends first.
func (b Bearer) Message() ([]byte, error) {
	token, err := b.tokens.Token()
	if err != nil {
		return nil, err
	}
	return []byte("n,,\x01auth=Bearer " + token.AccessToken + "\x01\x01"), nil
}

// Check returns what the broker's answer to Message says against the token.
func (Bearer) Check(answer []byte) error {
	if len(answer) == 0 {
		return nil
	}
	var refusal struct {
		Status string `json:"status"`
	}
	_ = json.Unmarshal(answer, &refusal) // it says less then
	return fmt.Errorf("the broker refuses the token: %q", refusal.Status)
}

type issuer struct{ cfg config.KafkaConn }

// Token implements oauth2.TokenSource, which has no context.
func (i issuer) Token() (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), tokenTimeout)
	defer cancel()
	if i.cfg.SASLMechanism == AWSMSKIAM {
		return awsToken(ctx, i.cfg)
	}
	return clientToken(ctx, i.cfg)
}

func clientToken(ctx context.Context, cfg config.KafkaConn) (*oauth2.Token, error) {
	secret, err := cfg.OAuthClientSecret.Now(cfg.OAuthClientSecretFile)
	if err != nil {
		return nil, fmt.Errorf("KAFKA_SASL_OAUTH_CLIENT_SECRET_FILE: %w", err)
	}
	// A redirection could take the secret to another host.
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	grant := clientcredentials.Config{
		ClientID: cfg.OAuthClientID, ClientSecret: secret.Reveal(), TokenURL: cfg.OAuthTokenURL, Scopes: strings.Fields(cfg.OAuthScope),
	}
	token, err := grant.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) { // its text quotes the answer, whatever is in it
		return nil, fmt.Errorf("KAFKA_SASL_OAUTH_TOKEN_URL: %s answers %s: check KAFKA_SASL_OAUTH_CLIENT_ID, KAFKA_SASL_OAUTH_CLIENT_SECRET and KAFKA_SASL_OAUTH_SCOPE",
			cfg.OAuthTokenURL, strings.TrimSpace(refused.Response.Status+" "+refused.ErrorCode))
	}
	if err != nil {
		return nil, fmt.Errorf("KAFKA_SASL_OAUTH_TOKEN_URL: %w", err)
	}
	return token, nil
}

func awsToken(ctx context.Context, cfg config.KafkaConn) (*oauth2.Token, error) {
	token, expires, err := signer.GenerateAuthToken(ctx, cfg.AWSRegion)
	if err != nil {
		return nil, fmt.Errorf("KAFKA_SASL_MECHANISM: %s finds no credentials of AWS: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine or service account a role: %w", AWSMSKIAM, err)
	}
	return &oauth2.Token{AccessToken: token, Expiry: time.UnixMilli(expires)}, nil
}
