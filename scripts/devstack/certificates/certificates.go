// Package certificates makes certificates for servers and clients of tests.
package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/orderhub/orderhub/scripts/internal/must"
)

// Files are PEM files.
type Files struct {
	Authority string // the authority to trust
	Server    string // the key and the certificate of servers on loopback
	Client    string // a certificate for a client to show
	ClientKey string // in the same file
}

// Make makes an authority, and certificates for servers on loopback and for a
// client, in folder. They are valid for a day.
func Make(folder string) (Files, error) { return Lasting(folder, 24*time.Hour) }

// Lasting makes what Make does, valid for another time.
func Lasting(folder string, life time.Duration) (Files, error) {
	client := filepath.Join(folder, "client.pem")
	files := Files{Authority: filepath.Join(folder, "authority.pem"), Server: filepath.Join(folder, "server.pem"), Client: client, ClientKey: client}
	return files, must.Try(func() {
		authority := issue(files.Authority, nil, 0, life)
		issue(files.Server, authority, x509.ExtKeyUsageServerAuth, life)
		issue(client, authority, x509.ExtKeyUsageClientAuth, life)
	})
}

type identity struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// issue makes an identity that issuer signs, and writes it to a file. Without an
// issuer it makes an authority, and writes no key.
func issue(file string, issuer *identity, usage x509.ExtKeyUsage, life time.Duration) *identity {
	key, now := must.Get(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)), time.Now()
	made := &identity{key: key, certificate: &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: filepath.Base(file), Organization: []string{"Orderhub's tests"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(life),
	}}
	var text []byte
	if issuer == nil {
		made.certificate.IsCA, made.certificate.BasicConstraintsValid, made.certificate.KeyUsage = true, true, x509.KeyUsageCertSign
		issuer = made
	} else {
		made.certificate.KeyUsage, made.certificate.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{usage}
		made.certificate.DNSNames, made.certificate.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
		text = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must.Get(x509.MarshalPKCS8PrivateKey(key))})
	}
	der := must.Get(x509.CreateCertificate(rand.Reader, made.certificate, issuer.certificate, key.Public(), issuer.key))
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	must.Succeed(os.WriteFile(file, text, 0o600))
	return made
}
