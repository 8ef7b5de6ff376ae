package console

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHostNames(t *testing.T) {
	loopback := newHostNames("127.0.0.1:8082", []string{"DLQ.example.com", ""})
	for _, host := range []string{"127.0.0.1:8082", "localhost", "LocalHost:1", "[::1]:8082", "localhost.", "dlq.example.com"} {
		require.True(t, loopback.allowed(host), host)
	}
	for _, host := range []string{"", "evil.example", "localhost.evil.example", "10.0.0.1", "127.0.0.2", "x@localhost", "dlq.example.com.evil.example", "[::1%25evil]"} {
		require.False(t, loopback.allowed(host), host)
	}
	everywhere := newHostNames(":8082", nil)
	for _, host := range []string{"10.0.0.1:8082", "[fe80::1]:8082", "localhost"} {
		require.True(t, everywhere.allowed(host), host)
	}
	require.False(t, everywhere.allowed("evil.example"), "a name can be pointed here, an address can't")
	require.True(t, newHostNames("10.0.0.5:8082", nil).allowed("10.0.0.5:8082"))
	require.False(t, newHostNames("10.0.0.5:8082", nil).allowed("10.0.0.6"))
}

func TestIsLoopback(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "[::ffff:127.0.0.1]:1"} {
		require.True(t, IsLoopback(listen), listen)
	}
	for _, listen := range []string{":1", "0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.com:1", "127.0.0.1", "localhost.example.com:1"} {
		require.False(t, IsLoopback(listen), listen)
	}
}

func TestSafePath(t *testing.T) {
	for given, want := range map[string]string{
		"/letters?q=x": "/letters?q=x", "": "/", "//evil.example": "/", "https://evil.example": "/", "javascript:x": "/",
		`/\evil.example`: "/", "/\t/evil.example": "/", "/a\r\nSet-Cookie: x": "/", "letters": "/",
	} {
		require.Equal(t, want, safePath(given), "%q", given)
	}
}
