package certificates

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCertificates(t *testing.T) {
	files, err := Make(t.TempDir())
	require.NoError(t, err)
	authority, err := os.ReadFile(files.Authority)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(authority))
	for file, usage := range map[[2]string]x509.ExtKeyUsage{
		{files.Client, files.ClientKey}: x509.ExtKeyUsageClientAuth,
		{files.Server, files.Server}:    x509.ExtKeyUsageServerAuth,
	} {
		pair, err := tls.LoadX509KeyPair(file[0], file[1])
		require.NoError(t, err)
		certificate, err := x509.ParseCertificate(pair.Certificate[0])
		require.NoError(t, err)
		_, err = certificate.Verify(x509.VerifyOptions{DNSName: "127.0.0.1", Roots: roots, KeyUsages: []x509.ExtKeyUsage{usage}})
		require.NoError(t, err)
	}
}
