package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLinesAreMixedWhole(t *testing.T) {
	var mixed bytes.Buffer
	out := newOutput(&mixed)
	worker, api := out.named("worker"), out.named("api")
	for _, write := range []func(){
		func() { _, _ = worker.Write([]byte("one\ntw")) },
		func() { _, _ = api.Write([]byte("other\r\n")) },
		func() { _, _ = worker.Write([]byte("o\nunfinished")) },
		func() { worker.flush(); worker.flush() },
	} {
		write()
	}
	require.Equal(t, "worker   | one\napi      | other\nworker   | two\nworker   | unfinished\n", mixed.String())
}

func TestEndlessLineIsCut(t *testing.T) {
	var mixed bytes.Buffer
	_, _ = newOutput(&mixed).named("worker").Write(bytes.Repeat([]byte("x"), longestLine+1))
	require.Equal(t, "worker   | "+strings.Repeat("x", longestLine)+"\n", mixed.String())
}

func TestPostgresLogIsThinned(t *testing.T) {
	var mixed bytes.Buffer
	_, _ = newOutput(&mixed).postgres().Write([]byte("LOG:  checkpoint\nERROR:  deadlock\nDETAIL:  of two\n"))
	require.Equal(t, "postgres | ERROR:  deadlock\npostgres | DETAIL:  of two\n", mixed.String())
}
