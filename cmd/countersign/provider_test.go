package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/countersign/countersign/console/browsertest"
	"github.com/countersign/countersign/policy/identity"
)

// A provider is a real OpenID provider in a process of its own
// (testdata/provider/provider.mjs).
type provider struct {
	issuer string
	in     io.WriteCloser
	out    *bufio.Reader
	dir    string
}

func startProvider(t testing.TB, redirect string) *provider {
	t.Helper()
	p := &provider{dir: browsertest.Install(t, "testdata/provider")}
	cmd := exec.Command("node", "provider.mjs")
	cmd.Dir = p.dir
	errs := &output{}
	cmd.Stderr = errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.in.Close() // it ends by that
		if err := cmd.Wait(); err != nil {
			t.Errorf("the provider ended with %v:\n%s", err, errs)
		}
	})
	p.issuer = p.say(t, vars{"redirect": redirect, "clientId": "countersign", "clientSecret": "a secret of a test", "audience": "acme-graph"})["issuer"]
	return p
}

// say gives it a command, and answers its answer.
func (p *provider) say(t testing.TB, what vars) map[string]string {
	t.Helper()
	line, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	answer, err := p.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("the provider said nothing: %v", err)
	}
	var out map[string]string
	if err := json.Unmarshal(answer, &out); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	return out
}

func (p *provider) sign(t testing.TB, how string, claims vars) string {
	t.Helper()
	all := vars{"sub": "app-user", "aud": "acme-graph", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range claims {
		all[name] = v
	}
	return p.say(t, vars{"do": "sign", "how": how, "claims": all})["token"]
}

// newProviderSite serves a shop whose people sign in at a real provider.
func newProviderSite(t testing.TB, more string) (*shopSite, *provider, *node) {
	t.Helper()
	address := freeAddress(t)
	p := startProvider(t, "http://"+address+"/auth/callback")
	s := newShop(t, "")
	s.write(t, "countersign.yaml", strings.Replace(s.read(t, "countersign.yaml"), "  issuers:\n", fmt.Sprintf(`  issuers:
    - issuer: %s
      audience: acme-graph
      signIn: { clientId: countersign, clientSecret: "${PROVIDER_SECRET}", scopes: [openid, profile, email, groups] }
      kind: human
      interactive: true
      roles: { from: groups, map: { acme-leads: lead } }
%s`, p.issuer, more), 1)+"url: http://"+address+"\n")
	s.write(t, ".env", "PROVIDER_SECRET=a secret of a test\n")
	return s, p, within(t, s.site, "--listen", address)
}

// A visitor is a browser without scripts: it keeps cookies and follows
// redirects.
type visitor struct {
	n       *node
	p       *provider
	client  *http.Client
	visited []string
}

func newVisitor(t testing.TB, n *node, p *provider) *visitor {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &visitor{n: n, p: p}
	v.client = &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		v.visited = append(v.visited, r.URL.String())
		return nil
	}}
	return v
}

// begin presses the button, and answers where the browser is sent.
func (v *visitor) begin(t testing.TB, more string) string {
	t.Helper()
	res, err := v.client.Post(v.n.url+"/auth/provider", "application/json", strings.NewReader(fmt.Sprintf(`{"issuer":%q,"to":"/explorer"%s}`, v.p.issuer, more)))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var out struct{ URL string }
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil || res.StatusCode != http.StatusOK || out.URL == "" {
		t.Fatalf("beginning is answered %s %v", res.Status, err)
	}
	return out.URL
}

// open follows an address to the end, signing in where it is asked to, and
// answers the path and query of our page where it comes out.
func (v *visitor) open(t testing.TB, address, login string) string {
	t.Helper()
	res, err := v.client.Get(address)
	for range 3 {
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(res.Request.URL.Path, "/interaction/") {
			if !strings.HasPrefix(res.Request.URL.String(), v.n.url) {
				t.Fatalf("the provider keeps us: %s %s", res.Status, body)
			}
			return res.Request.URL.RequestURI()
		}
		res, err = v.client.PostForm(res.Request.URL.String(), url.Values{"login": {login}})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("the provider asks again and again")
	return ""
}

// callback is the address that the provider sent this browser back to.
func (v *visitor) callback(t testing.TB) string {
	t.Helper()
	for i := len(v.visited) - 1; i >= 0; i-- {
		if strings.HasPrefix(v.visited[i], v.n.url+"/auth/callback?") {
			return v.visited[i]
		}
	}
	t.Fatalf("never came back: %q", v.visited)
	return ""
}

// session is the session's token; "" where there is none.
func (v *visitor) session(t testing.TB) string {
	t.Helper()
	u, err := url.Parse(v.n.url)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range v.client.Jar.Cookies(u) {
		if strings.HasSuffix(c.Name, "countersign-session") {
			return c.Value
		}
	}
	return ""
}

// changed is an address with one parameter replaced.
func changed(t testing.TB, address, name, value string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

const whoAmI = "{ viewer { id name kind tenant roles interactive } }"

// TestProvider signs people in at a real provider, and tries what somebody
// would who is not them.
func TestProvider(t *testing.T) {
	t.Parallel()
	_, p, n := newProviderSite(t, "")
	host := strings.TrimPrefix(p.issuer, "http://")

	maria := newVisitor(t, n, p)
	if to := maria.open(t, maria.begin(t, ""), "maria"); to != "/explorer" {
		t.Fatalf("came out at %s\n%s", to, n.stderr)
	}
	a := n.must(t, maria.session(t), whoAmI, nil)
	if a.at("viewer.id") != "user:"+host+"/maria" || a.at("viewer.roles.0") != "lead" || a.at("viewer.interactive") != "true" || a.at("viewer.name") != "Maria" {
		t.Errorf("is %s", a.raw)
	}
	returned := maria.callback(t)
	refused := func(what string, v *visitor, address, login string, want identity.Problem) {
		t.Helper()
		before := v.session(t)
		if to := v.open(t, address, login); to != "/sign-in?problem="+string(want) {
			t.Errorf("%s: came out at %s, not %s", what, to, want)
		}
		if v.session(t) != before {
			t.Errorf("%s: signs in", what)
		}
	}
	refused("the return, again", maria, returned, "", identity.ProblemOver)
	other := newVisitor(t, n, p)
	refused("the return, in a browser that began nothing", other, returned, "", identity.ProblemOver)
	other.begin(t, "")
	refused("the return, in another browser", other, returned, "", identity.ProblemOver)
	mine := other.begin(t, "")
	u, err := url.Parse(mine)
	if err != nil {
		t.Fatal(err)
	}
	refused("another's code with one's own state", other, changed(t, returned, "state", u.Query().Get("state")), "", identity.ProblemProvider)
	refused("another nonce", other, changed(t, other.begin(t, ""), "nonce", "of-another"), "maria", identity.ProblemProvider)
	other = newVisitor(t, n, p)
	refused("another challenge", other, changed(t, other.begin(t, ""), "code_challenge", strings.Repeat("A", 43)), "maria", identity.ProblemProvider)
	begun := other.begin(t, "")
	u, err = url.Parse(begun)
	if err != nil {
		t.Fatal(err)
	}
	q := url.Values{"state": {u.Query().Get("state")}, "code": {"x"}, "iss": {"https://evil.example"}}
	refused("an answer of another issuer", other, n.url+"/auth/callback?"+q.Encode(), "", identity.ProblemProvider)
	if u.Query().Get("code_challenge_method") != "S256" || u.Query().Get("redirect_uri") != n.url+"/auth/callback" || strings.Contains(begun, "secret") {
		t.Errorf("the browser is sent to %s", begun)
	}

	nora := newVisitor(t, n, p)
	if to := nora.open(t, nora.begin(t, ""), "nora"); !strings.HasPrefix(to, "/sign-in?problem=noroles") {
		t.Errorf("somebody without a role comes out at %s", to)
	}
	if a := n.must(t, nora.session(t), whoAmI, nil); a.at("viewer.roles.0") != "" {
		t.Errorf("is %s", a.raw)
	}

	p.say(t, vars{"do": "rotate"})
	again := newVisitor(t, n, p)
	if to := again.open(t, again.begin(t, ""), "maria"); to != "/explorer" {
		t.Errorf("after the provider changed its key: %s", to)
	}
	// Anywhere but here is nowhere.
	for _, to := range []string{"https://evil.example", "//evil.example", `/\\evil.example`, "javascript:x", "/a\nb"} {
		v := newVisitor(t, n, p)
		address := v.begin(t, fmt.Sprintf(`,"to":%q`, to))
		if got := v.open(t, address, "maria"); got != "/" {
			t.Errorf("%q leads to %s", to, got)
		}
	}
}

// TestProvidersTokens sends tokens of a real provider as a bearer, and false
// ones.
func TestProvidersTokens(t *testing.T) {
	t.Parallel()
	_, p, n := newProviderSite(t, "")
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {"urn:acme:graph"}, "client_id": {"robot"}, "client_secret": {"robot-secret"}}
	req, err := http.NewRequest(http.MethodPost, p.issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("robot", "robot-secret")
	form.Del("client_id")
	form.Del("client_secret")
	req.Body = io.NopCloser(strings.NewReader(form.Encode()))
	req.ContentLength = int64(len(form.Encode()))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var granted struct {
		Token string `json:"access_token"`
	}
	err = json.NewDecoder(res.Body).Decode(&granted)
	res.Body.Close()
	if err != nil || granted.Token == "" {
		t.Fatalf("the provider gives no token: %s %v", res.Status, err)
	}
	host := strings.TrimPrefix(p.issuer, "http://")
	if a := n.must(t, granted.Token, whoAmI, nil); a.at("viewer.id") != "user:"+host+"/robot" || a.at("viewer.interactive") != "false" {
		t.Errorf("a token of the provider is %s", a.raw)
	}
	signedIn := time.Now().Add(-time.Minute).Unix()
	if a := n.must(t, p.sign(t, "RS256", vars{"auth_time": signedIn}), whoAmI, nil); a.at("viewer.interactive") != "true" {
		t.Errorf("a token that says when its person signed in is %s", a.raw)
	}
	for what, token := range map[string]string{
		"expired": p.sign(t, "RS256", vars{"exp": time.Now().Add(-time.Hour).Unix()}), "another audience": p.sign(t, "RS256", vars{"aud": "another"}),
		"another issuer": p.sign(t, "RS256", vars{"iss": "https://evil.example"}), "the client's audience": p.sign(t, "RS256", vars{"aud": "countersign"}),
		"none": p.sign(t, "none", nil), "HS256 with the public key": p.sign(t, "HS256", nil), "another key": p.sign(t, "other", nil),
		"delegated": p.sign(t, "RS256", vars{"auth_time": signedIn, "act": vars{"sub": "agent"}}), "signed in tomorrow": p.sign(t, "RS256", vars{"auth_time": time.Now().Add(time.Hour).Unix()}),
	} {
		if a := n.ask(t, token, whoAmI, nil); a.status != http.StatusUnauthorized || a.code() != "UNAUTHENTICATED" {
			t.Errorf("%s: %d %s", what, a.status, a.raw)
		}
	}
	// The issuer gives up its key: a token of a new one makes us look, and what
	// the old one signed is over with it.
	old := p.sign(t, "RS256", vars{"sub": "of-the-old-key"})
	n.must(t, old, whoAmI, nil)
	p.say(t, vars{"do": "rotate"})
	n.must(t, p.sign(t, "RS256", nil), whoAmI, nil)
	eventually(t, "the old key's token to be refused", func() (bool, string) {
		a, err := n.try(old, whoAmI, nil)
		return err == nil && a.status == http.StatusUnauthorized, a.raw
	})
}

// TestProviderInBrowser is what people see of it.
func TestProviderInBrowser(t *testing.T) {
	t.Parallel()
	_, p, n := newProviderSite(t, "")
	told, err := json.Marshal(vars{"url": n.url, "provider": p.issuer, "chromium": browsertest.Find(t, "chromium", "chromium-browser", "google-chrome")})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "signin.mjs")
	cmd.Dir, cmd.Stdin = p.dir, bytes.NewReader(told)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestSignInProblems: whatever a sign-in may come to, the page has words for.
func TestSignInProblems(t *testing.T) {
	page, source := pageText(t, "../../console/assets/sign-in.js"), pageText(t, "../../policy/identity/flow.go")
	found := regexp.MustCompile(`Problem\w+ +Problem = "(\w+)"`).FindAllStringSubmatch(source, -1)
	if len(found) < 8 {
		t.Fatalf("found only %v", found)
	}
	for _, m := range append(found, []string{"", "noroles"}) {
		if !regexp.MustCompile(`(?m)^  ` + m[1] + `: "`).MatchString(page) {
			t.Errorf("sign-in.js has no words for %s", m[1])
		}
	}
}

func pageText(t testing.TB, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
