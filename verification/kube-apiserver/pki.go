package main

// The keys and certificates of one server, kept in its data directory so that a restart keeps them.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// keyFiles names the files in the pki directory that the API server reads. Beside them lie admin.crt
// and admin.key, the client certificate of a cluster administrator.
type keyFiles struct {
	caCert, serverCert, serverKey, serviceAccountKey string
}

func ensureKeys(dir string) (keyFiles, error) {
	files := keyFiles{
		caCert:            filepath.Join(dir, "ca.crt"),
		serverCert:        filepath.Join(dir, "server.crt"),
		serverKey:         filepath.Join(dir, "server.key"),
		serviceAccountKey: filepath.Join(dir, "service-account.key"),
	}
	// The authority's certificate is written last: where it exists, all of them do.
	if _, err := os.Stat(files.caCert); !errors.Is(err, fs.ErrNotExist) {
		return files, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return files, err
	}
	ca, err := newAuthority()
	if err != nil {
		return files, err
	}
	serviceAccountKey, err := newKey()
	if err != nil {
		return files, err
	}
	if err := writeKey(files.serviceAccountKey, serviceAccountKey); err != nil {
		return files, err
	}
	err = ca.issue(files.serverCert, files.serverKey, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:    []string{"localhost", "kubernetes.default.svc"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return files, err
	}
	err = ca.issue(filepath.Join(dir, "admin.crt"), filepath.Join(dir, "admin.key"), &x509.Certificate{
		Subject:     pkix.Name{CommonName: "certificate-admin", Organization: []string{"system:masters"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return files, err
	}
	return files, writePEM(files.caCert, "CERTIFICATE", ca.certificate.Raw)
}

// authority signs the serving certificate and the client certificates alike.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority() (*authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test-ca"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(1, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &authority{certificate, key}, err
}

// issue completes the template and writes a certificate for a new key.
func (a *authority) issue(certFile, keyFile string, template *x509.Certificate) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	template.NotBefore, template.NotAfter = a.certificate.NotBefore, a.certificate.NotAfter
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return err
	}
	if err := writeKey(keyFile, key); err != nil {
		return err
	}
	return writePEM(certFile, "CERTIFICATE", der)
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func writeKey(file string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(file, "EC PRIVATE KEY", der)
}

func writePEM(file, blockType string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}), 0o600)
}
