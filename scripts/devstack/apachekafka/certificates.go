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
	a, err := newAuthority()
	if err != nil {
		return files, err
	}
	broker, brokerKey, err := a.issue(2, "broker", x509.ExtKeyUsageServerAuth)
	if err != nil {
		return files, err
	}
	client, clientKey, err := a.issue(3, "client", x509.ExtKeyUsageClientAuth)
	if err != nil {
		return files, err
	}
	for name, content := range map[string][]byte{
		files.Authority:                          certificatePEM(a.certificate.Raw),
		filepath.Join(folder, brokerCertificate): append(brokerKey, broker...),
		files.Client:                             client,
		files.ClientKey:                          clientKey,
	} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			return files, err
		}
	}
	return files, nil
}

type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := template(1, "authority")
	template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &authority{certificate, key}, err
}

// issue makes a certificate with its key, both as PEM.
func (a *authority) issue(serial int64, name string, usage x509.ExtKeyUsage) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := template(serial, name)
	template.KeyUsage, template.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{usage}
	template.DNSNames, template.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.key)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return certificatePEM(der), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}), nil
}

func template(serial int64, name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name, Organization: []string{"Orderhub's tests"}},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(certificateLife),
	}
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
