package apachekafka

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
)

// Certificates are PEM files for clients of the listeners that speak TLS.
type Certificates struct {
	Authority string // the authority to trust
	Client    string // a certificate for a client to show
	ClientKey string
}

const certificateLife = 24 * time.Hour

// brokerCertificate is the file with the brokers' key and certificate.
const brokerCertificate = "broker.pem"

// makeCertificates makes an authority, and certificates for brokers on loopback
// and for a client, in folder.
func makeCertificates(folder string) (Certificates, error) {
	files := Certificates{
		Authority: filepath.Join(folder, "authority.pem"),
		Client:    filepath.Join(folder, "client.pem"),
		ClientKey: filepath.Join(folder, "client-key.pem"),
	}
	ca, err := issue("authority", nil, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	if err != nil {
		return files, err
	}
	usage := func(usage x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{usage}
			c.DNSNames, c.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
		}
	}
	broker, err := issue("broker", ca, usage(x509.ExtKeyUsageServerAuth))
	if err != nil {
		return files, err
	}
	client, err := issue("client", ca, usage(x509.ExtKeyUsageClientAuth))
	if err != nil {
		return files, err
	}
	for name, content := range map[string][]byte{
		files.Authority:                          ca.certificatePEM,
		filepath.Join(folder, brokerCertificate): append(broker.keyPEM, broker.certificatePEM...),
		files.Client:                             client.certificatePEM,
		files.ClientKey:                          client.keyPEM,
	} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return files, err
		}
	}
	return files, nil
}

// identity is a certificate with its key.
type identity struct {
	certificate            *x509.Certificate
	key                    *ecdsa.PrivateKey
	certificatePEM, keyPEM []byte
}

// issue makes an identity that issuer signs, or that signs itself where issuer is
// nil.
func issue(name string, issuer *identity, set func(*x509.Certificate)) (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name, Organization: []string{"Orderhub's tests"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(certificateLife),
	}
	set(template)
	made := &identity{certificate: template, key: key}
	if issuer == nil {
		issuer = made
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer.certificate, key.Public(), issuer.key)
	if err != nil {
		return nil, err
	}
	if made.certificate, err = x509.ParseCertificate(der); err != nil {
		return nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	made.certificatePEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	made.keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
	return made, err
}
