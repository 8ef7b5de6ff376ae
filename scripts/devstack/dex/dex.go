// Package dex runs an identity provider for tests: github.com/dexidp/dex, as a child
// process that keeps everything in memory.
package dex

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"net/http"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/orderhub/orderhub/scripts/devstack/gobuild"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
	"github.com/orderhub/orderhub/scripts/internal/httpget"
)

// main uses dex's server as a library: the program of its own needs a module that is not
// published in the version that it needs.
//
//go:embed main.go.txt
var main []byte

const version = "v0.0.0-20260806151424-ab64ed778070"

// Client is a program that signs people in.
type Client struct {
	ID, Secret             string
	RedirectURIs           []string
	PostLogoutRedirectURIs []string
}

// Person is who signs in, with e-mail address and password. The groups are in the claim
// of that name, if the scope of that name is asked for.
type Person struct {
	Email, Password string
	Groups          []string
}

// StartForTest runs the provider until the end of the test, and returns its issuer.
func StartForTest(tb testing.TB, clients []Client, people []Person) (issuer string) {
	tb.Helper()
	binary, err := gobuild.Binary(context.Background(), gobuild.Program{Name: "dex", Module: "github.com/dexidp/dex", Version: version, Main: main})
	require.NoError(tb, err)
	port, err := ports.Free()
	require.NoError(tb, err)
	issuer = "http://" + ports.Loopback(port) + "/dex"
	passwords := make([]map[string]any, len(people))
	for i, person := range people {
		hash, err := bcrypt.GenerateFromPassword([]byte(person.Password), bcrypt.DefaultCost)
		require.NoError(tb, err)
		passwords[i] = map[string]any{"email": person.Email, "hash": hash, "username": person.Email, "userID": person.Email, "groups": person.Groups}
	}
	config, err := json.Marshal(map[string]any{"addr": ports.Loopback(port), "issuer": issuer, "clients": clients, "passwords": passwords})
	require.NoError(tb, err)
	process.StartForTest(tb, "dex", func() *exec.Cmd {
		cmd := exec.Command(binary)
		cmd.Stdin = bytes.NewReader(config)
		return cmd
	}, func(ctx context.Context) error {
		_, err := httpget.OK(ctx, http.DefaultClient, issuer+"/.well-known/openid-configuration")
		return err
	})
	return issuer
}
