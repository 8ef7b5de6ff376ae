// Package certificates makes certificates for servers and clients of tests.
package certificates

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
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
	authority, err := issue(files.Authority, nil, 0, life)
	if err != nil {
		return files, err
	}
	_, serverErr := issue(files.Server, authority, x509.ExtKeyUsageServerAuth, life)
	_, clientErr := issue(client, authority, x509.ExtKeyUsageClientAuth, life)
	return files, errors.Join(serverErr, clientErr)
}

// identity is a certificate with its key.
type identity struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// issue makes an identity that issuer signs, and writes it to a file. Without an
// issuer it makes an authority, and writes no key.
func issue(file string, issuer *identity, usage x509.ExtKeyUsage, life time.Duration) (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
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
		encoded, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		text = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
	}
	der, err := x509.CreateCertificate(rand.Reader, made.certificate, issuer.certificate, key.Public(), issuer.key)
	if err != nil {
		return nil, err
	}
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	return made, os.WriteFile(file, text, 0o600)
}
