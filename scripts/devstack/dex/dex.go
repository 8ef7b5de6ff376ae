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
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/orderhub/orderhub/scripts/devstack/gobuild"
	"github.com/orderhub/orderhub/scripts/devstack/ports"
	"github.com/orderhub/orderhub/scripts/devstack/process"
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
	issuer, err := start(tb, clients, people)
	if err != nil {
		tb.Fatalf("dex for the test: %v", err)
	}
	return issuer
}

func start(tb testing.TB, clients []Client, people []Person) (issuer string, err error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	binary, err := gobuild.Binary(ctx, gobuild.Program{Name: "dex", Module: "github.com/dexidp/dex", Version: version, Main: main})
	if err != nil {
		return "", err
	}
	port, err := ports.Free()
	if err != nil {
		return "", err
	}
	issuer = "http://" + ports.Loopback(port) + "/dex"
	passwords := make([]map[string]any, len(people))
	for i, person := range people {
		hash, err := bcrypt.GenerateFromPassword([]byte(person.Password), bcrypt.DefaultCost)
		if err != nil {
			return "", err
		}
		passwords[i] = map[string]any{"email": person.Email, "hash": hash, "username": person.Email, "userID": person.Email, "groups": person.Groups}
	}
	config, err := json.Marshal(map[string]any{"addr": ports.Loopback(port), "issuer": issuer, "clients": clients, "passwords": passwords})
	if err != nil {
		return "", err
	}
	daemon := process.NewDaemon("dex", filepath.Join(tb.TempDir(), "dex.log"), func() *exec.Cmd {
		cmd := exec.Command(binary)
		cmd.Stdin = bytes.NewReader(config)
		return cmd
	})
	if err := daemon.Start(); err != nil {
		return "", err
	}
	tb.Cleanup(func() { _ = daemon.Kill() })
	return issuer, daemon.WaitReady(ctx, func(context.Context) error {
		response, err := http.Get(issuer + "/.well-known/openid-configuration")
		if err == nil {
			_ = response.Body.Close()
		}
		return err
	})
}
