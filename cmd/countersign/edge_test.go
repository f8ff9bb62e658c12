package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A secret is rotated by a list: what was made before goes on while the old one
// is there, and ends cleanly when it is not.
func TestSecretRotation(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	cfg := s.read(t, "countersign.yaml")
	older, newer := strings.Repeat("o", 40), strings.Repeat("n", 40)
	s.write(t, ".env", "OLDER="+older+"\nNEWER="+newer+"\n")
	served := func(secret string) *node {
		t.Helper()
		s.write(t, "countersign.yaml", cfg+"secret: "+secret+"\n")
		return within(t, s.site)
	}
	page := `query ($after: String) { items(first: 2, after: $after) { nodes { id } pageInfo { endCursor } } }`
	n := served(`"${OLDER}"`)
	olga := s.signIn(t, n, "olga@shop.example")
	first := n.must(t, olga, page, nil).at("items.pageInfo.endCursor")
	proposed := n.must(t, s.tokens["bot"], `mutation { updateItem(id: 1, patch: {stock: {set: 7}}) { outcome proposal { id } } }`, nil).at("updateItem.proposal.id")
	n.stop(t)

	n = served(`["${NEWER}", "${OLDER}"]`)
	a := n.must(t, olga, page, vars{"after": first})
	if a.at("items.nodes.0.id") != "3" {
		t.Errorf("a cursor of before: %s", a.raw)
	}
	second := a.at("items.pageInfo.endCursor")
	lea := s.signIn(t, n, "lea@shop.example")
	if a := n.proposal(t, lea, proposed); a.at("proposal.state") != "PENDING" {
		t.Errorf("a proposal of before: %s", a.raw)
	}
	n.stop(t)

	n = served(`"${NEWER}"`)
	if a := n.ask(t, olga, page, vars{"after": first}); a.code() != "BAD_INPUT" {
		t.Errorf("a cursor of a secret that is gone: %s", a.raw)
	}
	if a := n.must(t, olga, page, vars{"after": second}); a.at("items.nodes.0.id") == "" {
		t.Errorf("a cursor of the new secret: %s", a.raw)
	}
	if a := n.ask(t, olga, `{ viewer { id } }`, nil); a.at("viewer.id") != "user:olga@shop.example" && a.code() != "UNAUTHENTICATED" {
		t.Errorf("a session of before: %s", a.raw)
	}
	n.stop(t)
}

// selfSigned writes a certificate and its key for 127.0.0.1 under that name.
func selfSigned(t testing.TB, s *site, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, "tls.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	s.write(t, "tls.crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
}

// TLS is of files, with HTTP/2, and a certificate that is renewed is used.
func TestTLS(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	selfSigned(t, s.site, "first")
	cfg := strings.Replace(s.read(t, "countersign.yaml"), "http: { ", fmt.Sprintf(`http: { tls: { cert: tls.crt, key: "${file:%s}" }, `, s.file("tls.key")), 1)
	s.write(t, "countersign.yaml", cfg)
	n := within(t, s.site)
	if !strings.HasPrefix(n.url, "https://") {
		t.Fatalf("it serves %s", n.url)
	}
	ask := func() (*http.Response, string) {
		t.Helper()
		// Nobody signed it but itself: what it says is looked at below.
		tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		defer tr.CloseIdleConnections()
		res, err := (&http.Client{Transport: tr}).Get(n.url + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res, res.TLS.PeerCertificates[0].Subject.CommonName
	}
	res, name := ask()
	if res.ProtoMajor != 2 || name != "first" || res.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("%s of %s: %v", res.Proto, name, res.Header)
	}
	s.write(t, "tls.crt", "no certificate")
	eventually(t, "a word about the certificate", func() (bool, string) {
		_, name := ask()
		return strings.Contains(n.stderr.String(), "the certificate before stays") && name == "first", name
	})
	selfSigned(t, s.site, "second")
	eventually(t, "the new certificate", func() (bool, string) {
		_, name := ask()
		return name == "second", name
	})
	n.stop(t)
	s.write(t, "tls.crt", "no certificate")
	if _, stderr, code := command("", s.arguments()...); code == 0 || !strings.Contains(stderr, "http.tls") {
		t.Errorf("without a certificate it starts: %s", stderr)
	}
}

// A proxy's word about the caller is believed where the configuration names the
// proxy, and nobody else's.
func TestTrustedProxies(t *testing.T) {
	t.Parallel()
	for proxies, believed := range map[string]bool{"trustedProxies: [127.0.0.0/8, 10.0.0.7], ": true, "trustedProxies: [10.0.0.0/8], ": false, "": false} {
		s := newShop(t, "")
		s.write(t, "countersign.yaml", strings.Replace(s.read(t, "countersign.yaml"), "http: { ", "http: { "+proxies, 1))
		n := within(t, s.site)
		req, err := http.NewRequest(http.MethodPost, n.url+"/auth/device", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Forwarded-Proto", "https")
		req.Header.Set("X-Forwarded-For", "1.2.3.4, 5.6.7.8, 10.0.0.7")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var device struct{ VerificationURI string }
		err = json.NewDecoder(res.Body).Decode(&device)
		res.Body.Close()
		if err != nil || strings.HasPrefix(device.VerificationURI, "https://") != believed || (res.Header.Get("Strict-Transport-Security") != "") != believed {
			t.Errorf("%s: %+v %v %v", proxies, device, res.Header, err)
		}
	}
}

// Lists of operations are off, or as long as the limits say.
func TestBatch(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.write(t, "countersign.yaml", s.read(t, "countersign.yaml")+"limits:\n  owner: { batch: 3, rows: 100 }\n")
	s.staff(t)
	n := within(t, s.site)
	olga, lea := s.signIn(t, n, "olga@shop.example"), s.signIn(t, n, "lea@shop.example")
	one := `{"query":"{ item(id: 1) { name } }"}`
	for _, c := range []struct{ token, body, want string }{
		{olga, "[" + one + ", " + `{"query":"{ nothing }"}` + "," + one + "]", `[{"data":{"item":{"name":"Item 1"}}},{"errors":[{"message":"Cannot query field`},
		{olga, "[" + one + "," + one + "," + one + "," + one + "]", `"TOO_LARGE"`},
		{olga, "[]", `"BAD_INPUT"`},
		{olga, "[1]", `"BAD_INPUT"`},
		{olga, "[" + one + ",", `"BAD_INPUT"`},
		{lea, "[" + one + "]", `lists of operations are off`},
		{olga, `{"query":"{ items(first: 60) { nodes { notes { nodes { id } } } } }"}`, `"ROW_CAP_EXCEEDED"`},
	} {
		if _, text := n.post(t, "/graphql", bearer(c.token), c.body); !strings.Contains(text, c.want) {
			t.Errorf("%s is answered %s, not %s", c.body, text, c.want)
		}
	}
}
