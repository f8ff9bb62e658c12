package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
)

// recheckCertificate is how often a handshake looks whether files changed.
const recheckCertificate = time.Second

// A certificate is the one of http.tls, read again when its files change: who
// renews it need not restart anything. It may be used by any number of
// goroutines.
type certificate struct {
	cert, key config.PEM
	log       *slog.Logger

	mu      sync.Mutex
	now     *tls.Certificate
	version string    // of the files as they were read
	looked  time.Time // when they were looked at last
}

// newCertificate reads the certificate; one that cannot be read stops the start.
func newCertificate(cfg *config.Config, log *slog.Logger) (*certificate, error) {
	c := &certificate{cert: cfg.HTTP.TLS.Cert, key: cfg.HTTP.TLS.Key, log: log}
	for _, p := range []*config.PEM{&c.cert, &c.key} {
		if p.File != "" {
			p.File = inDir(cfg.Dir, p.File)
		}
	}
	c.version = c.files()
	loaded, err := c.load()
	if err != nil {
		return nil, fmt.Errorf("http.tls: %w", err)
	}
	c.now, c.looked = loaded, time.Now()
	return c, nil
}

// files tells versions of the files apart.
func (c *certificate) files() string {
	out := ""
	for _, p := range []config.PEM{c.cert, c.key} {
		if p.File == "" {
			continue
		}
		info, err := os.Stat(p.File)
		if err != nil {
			out += "gone;"
			continue
		}
		out += fmt.Sprintf("%d %d;", info.ModTime().UnixNano(), info.Size())
	}
	return out
}

func (c *certificate) load() (*tls.Certificate, error) {
	cert, err := content(c.cert)
	if err != nil {
		return nil, err
	}
	key, err := content(c.key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	return &pair, nil
}

func content(p config.PEM) ([]byte, error) {
	if p.File == "" {
		return []byte(p.Text), nil
	}
	return os.ReadFile(p.File)
}

// get is the certificate of a handshake. Files that changed and cannot be read,
// or do not fit together yet, leave the one before in force.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.looked) >= recheckCertificate {
		c.looked = now
		if version := c.files(); version != c.version {
			if loaded, err := c.load(); err != nil {
				c.log.Warn("http.tls: the files changed and cannot be used; the certificate before stays", "error", err)
			} else {
				c.now = loaded
				c.log.Info("http.tls: a new certificate is used")
			}
			c.version = version
		}
	}
	return c.now, nil
}

// serveOn serves on l: over TLS with HTTP/2 where there is a certificate, else
// as plain HTTP/1.1.
func serveOn(server *http.Server, l net.Listener, c *certificate) error {
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true)
	if c == nil {
		return server.Serve(l)
	}
	server.Protocols.SetHTTP2(true)
	server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}
	return server.ServeTLS(l, "", "")
}
