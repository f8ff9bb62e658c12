package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// An issuer signs tokens of people of an application.
type issuer struct {
	web *httptest.Server
	key *ecdsa.PrivateKey
}

func newIssuer(t testing.TB) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		writeTestJSON(w, map[string]any{"issuer": i.web.URL, "jwks_uri": i.web.URL + "/keys", "authorization_endpoint": i.web.URL, "token_endpoint": i.web.URL})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		raw, err := key.PublicKey.Bytes()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		b64 := base64.RawURLEncoding.EncodeToString
		writeTestJSON(w, map[string]any{"keys": []map[string]string{{"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "x": b64(raw[1:33]), "y": b64(raw[33:])}}})
	})
	i.web = httptest.NewServer(mux)
	t.Cleanup(i.web.Close)
	return i
}

func writeTestJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // an error is a client that went away
}

// token signs a token of a subject in a region; change may spoil it.
func (i *issuer) token(t testing.TB, subject, region string, change func(jwt.MapClaims)) string {
	t.Helper()
	claims := jwt.MapClaims{"iss": i.web.URL, "aud": "shop-graph", "sub": subject, "region": region, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	if change != nil {
		change(claims)
	}
	return sign(t, jwt.SigningMethodES256, claims, i.key)
}

func sign(t testing.TB, method jwt.SigningMethod, claims jwt.MapClaims, key any) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	token.Header["kid"] = "1"
	out, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A store of 60 items in three regions, its people, an agent, and an
// application whose users come with tokens.
type shopSite struct {
	*site
	f       *foreign
	issuer  *issuer
	agentID string // of the agent's key
}

const appOrigin = "https://app.example"

const shopPolicy = `p, owner, *, read, allow
p, owner, *, create|update|delete, allow
p, owner, *, approve, allow
p, lead, *, read|approve, allow
p, clerk-eu, shop.item, read, allow, {region: {eq: "EU"}}
p, clerk-eu, shop.item{stock}, update, allow, {region: {eq: "EU"}}
p, clerk-us, shop.item, read, allow, {region: {eq: "US"}}
p, clerk-us, shop.item{stock}, update, propose, {region: {eq: "US"}}
p, customer, shop.item, read, allow, {region: {eq: $claims.region}}
p, bot, shop.item, read, allow
p, bot, shop.item{stock price}, update, propose
`

func newShop(t testing.TB, sources string, secrets ...string) *shopSite {
	t.Helper()
	s := &shopSite{issuer: newIssuer(t)}
	s.site = newSite(t, map[string]string{"policy/policy.csv": shopPolicy, "policy/approvals.yaml": yardApprovals, ".env": strings.Join(secrets, ""),
		"countersign.yaml": fmt.Sprintf(`version: 1
sources:
  shop: { connector: sqlite, url: shop.db, outcome: transactional }
%sidentity:
  issuers:
    - issuer: %s
      audience: shop-graph
      kind: human
      interactive: false
      roles: { fixed: [customer] }
      claims: { region: region }
http: { cors: { origins: [%q] } }
agents:
  bot: { owner: olga@shop.example, purpose: Tests, roles: [bot], actsFor: optional }
`, sources, s.issuer.web.URL, appOrigin)})
	s.f = openForeign(t, "sqlite", s.file("shop.db"))
	s.f.exec(t, `CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, region TEXT NOT NULL, price NUMERIC(10,2), stock INT NOT NULL CHECK (stock >= 0))`,
		`CREATE TABLE note (id INTEGER PRIMARY KEY, item_id INTEGER NOT NULL REFERENCES item (id), body TEXT NOT NULL)`,
		`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 60)
		 INSERT INTO item SELECT i, 'Item ' || i, CASE i % 3 WHEN 0 THEN 'EU' WHEN 1 THEN 'US' ELSE 'AP' END, i * 1.25, i FROM n`,
		`INSERT INTO note SELECT id, id, 'About ' || name FROM item`)
	s.pin(t)
	marker(t, s.site, "shop", s.f)
	return s
}

// staff adds people and the agent's key: olga the owner, lea the lead.
func (s *shopSite) staff(t testing.TB) {
	t.Helper()
	s.addUser(t, "olga@shop.example", "owner")
	s.addUser(t, "lea@shop.example", "lead")
	s.agentID, s.tokens["bot"] = s.addKey(t, "bot", "")
}
