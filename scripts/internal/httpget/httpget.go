// Package httpget asks servers, for the programs that test and measure them.
package httpget

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Answer is what a server answered.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends a GET request with these headers, and reads the answer.
func Do(ctx context.Context, client *http.Client, address string, headers map[string]string) (a Answer, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return a, err
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return a, err
	}
	body, err := io.ReadAll(response.Body)
	return Answer{response.StatusCode, response.Header, body}, errors.Join(err, response.Body.Close())
}

// OK returns the body of an answer of 200. Any other one is an error.
func OK(ctx context.Context, client *http.Client, address string) ([]byte, error) {
	a, err := Do(ctx, client, address, nil)
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("%s answers %d: %.4000s", address, a.Status, a.Body)
	}
	return a.Body, err
}

// JSON decodes an answer of 200.
func JSON(ctx context.Context, client *http.Client, address string, to any) error {
	body, err := OK(ctx, client, address)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, to); err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	return nil
}
