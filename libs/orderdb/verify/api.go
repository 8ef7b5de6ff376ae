package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/orderhub/orderhub/libs/platform/retry"
)

const (
	requestTimeout = 15 * time.Second
	// attempts at a request whose connection fails, such as one that the server
	// was about to close.
	attempts = 3
)

// APIError says that the read API can't be asked, or doesn't know.
type APIError struct {
	API string // its base address
	// Refused says that the API answers, but not for this token: with all of the data.
	Refused bool
	Err     error
}

func (e *APIError) Error() string { return fmt.Sprintf("ask the API at %s: %v", e.API, e.Err) }

// Unwrap is the cause.
func (e *APIError) Unwrap() error { return e.Err }

// api asks a read API, as any client does.
type api struct {
	base   string
	token  string // "": none
	client *http.Client
}

func newAPI(base, token string, workers int) *api {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost: workers,
		DisableCompression:  true, // bytes are compared
		IdleConnTimeout:     time.Minute,
	}
	return &api{base: base, token: token, client: &http.Client{Transport: transport, Timeout: requestTimeout}}
}

func (a *api) close() { a.client.CloseIdleConnections() }

type answer struct {
	body    string // "": there is none
	unknown string // why it can't say
}

// is tells whether the answer is what the tables have.
func (a answer) is(rows string) bool { return a.unknown == "" && a.body == rows }

// order asks for an order. An error means that nobody answers.
func (a *api) order(ctx context.Context, uid string) (answer, error) {
	status, body, err := a.get(ctx, "/order/"+url.PathEscape(uid))
	switch {
	case err != nil:
		return answer{}, err
	case status == http.StatusOK:
		return answer{body: string(body)}, nil
	case status == http.StatusNotFound:
		return answer{}, nil
	default:
		return answer{unknown: fmt.Sprintf("%d %s", status, http.StatusText(status))}, nil
	}
}

// held is how many orders the API has in memory, and whether these are all that
// it knows of.
func (a *api) held(ctx context.Context) (orders int64, complete bool, err error) {
	status, body, err := a.get(ctx, "/api/v1/stats")
	if err != nil {
		return 0, false, err
	}
	var stats struct {
		Orders   int64 `json:"orders"`
		Synced   bool  `json:"synced"`
		Complete bool  `json:"complete"`
	}
	if status != http.StatusOK || json.Unmarshal(body, &stats) != nil {
		return 0, false, &APIError{API: a.base, Err: fmt.Errorf("/api/v1/stats is answered with %d %s: this is no read API", status, http.StatusText(status))}
	}
	return stats.Orders, stats.Synced && stats.Complete, nil
}

func (a *api) get(ctx context.Context, path string) (status int, body []byte, err error) {
	for left := attempts; left > 0; left-- {
		var pause time.Duration
		status, body, pause, err = a.try(ctx, path)
		switch {
		case err == nil && status == http.StatusTooManyRequests:
			left++
			_ = retry.Sleep(ctx, pause) // which ends early where ctx does
		case err == nil && (status == http.StatusUnauthorized || status == http.StatusForbidden):
			return 0, nil, &APIError{API: a.base, Refused: true, Err: fmt.Errorf("it answers %d %s", status, http.StatusText(status))}
		case err == nil:
			return status, body, nil
		}
		if ctx.Err() != nil {
			return 0, nil, context.Cause(ctx)
		}
	}
	var refused *url.Error // which names the address
	if errors.As(err, &refused) {
		err = refused.Err
	}
	return 0, nil, &APIError{API: a.base, Err: err}
}

// try asks once. pause is how long the API wants the next request to wait.
func (a *api) try(ctx context.Context, path string) (status int, body []byte, pause time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, http.NoBody)
	if err != nil {
		return 0, nil, 0, err
	}
	if a.token != "" {
		request.Header.Set("Authorization", "Bearer "+a.token)
	}
	response, err := a.client.Do(request)
	if err != nil {
		return 0, nil, 0, err
	}
	defer func() { _ = response.Body.Close() }() // it has been read
	body, err = io.ReadAll(response.Body)
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After")) // 0: it does not say
	return response.StatusCode, body, time.Duration(max(seconds, 1)) * time.Second, err
}
