package config

import (
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

var sourceName = regexp.MustCompile(`^[a-z][A-Za-z0-9_]{0,39}$`)

// validate finds what is wrong beyond keys and types.
func (c *Config) validate() []Problem {
	v := &validator{c: c}
	if c.Version != 1 {
		v.add(1, "bad_value", "version must be 1", "write: version: 1")
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		v.add(0, "bad_value", fmt.Sprintf("listen: %q is no address", c.Listen), "write HOST:PORT")
	}
	if c.URL != "" {
		if u, err := url.Parse(c.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			v.add(0, "bad_value", "url must be an http(s) address", "")
		}
	}
	for i, s := range c.Secret {
		if len(s) < 32 {
			v.add(0, "bad_value", fmt.Sprintf("secret[%d] is shorter than 32 bytes", i), "openssl rand -hex 32")
		}
	}
	for _, origin := range c.HTTP.CORS.Origins {
		if u, err := url.Parse(origin); err != nil || u.Host == "" || u.Path != "" {
			v.add(0, "bad_value", fmt.Sprintf("http.cors.origins: %q is no origin", origin), "write https://host, without a path")
		}
	}
	for i, text := range c.HTTP.TrustedProxies {
		if _, err := ParseNetwork(text); err != nil {
			v.add(0, "bad_value", fmt.Sprintf("http.trustedProxies[%d]: %q is no network", i, text), "write 10.0.0.0/8 or 10.0.0.7")
		}
	}
	if t := c.HTTP.TLS; t != nil && (t.Cert == (PEM{}) || t.Key == (PEM{})) {
		v.add(0, "bad_value", "http.tls needs cert and key", "http: { tls: { cert: tls.crt, key: tls.key } }")
	}
	if c.HTTP.ReadTimeout < 0 {
		v.add(0, "bad_value", "http.readTimeout must be more than 0", "leave it out for "+DefaultReadTimeout.String())
	}
	if w := c.Telemetry.Audit.Writes; w != "" && w != "all" && w != "none" {
		v.add(0, "bad_value", fmt.Sprintf("telemetry.audit.writes must be all or none, not %q", w), "write all")
	}
	if len(c.Sources.Names) == 0 {
		v.add(0, "bad_value", "no sources: there is nothing to serve", "countersign init --source NAME=postgres:URL")
	}
	for _, name := range c.Sources.Names {
		v.source(name, c.Sources.Values[name])
	}
	v.identity()
	for _, name := range c.Agents.Names {
		v.agent(name, c.Agents.Values[name])
	}
	for role, l := range c.Limits.Values {
		if l.Documents != "" && l.Documents != "any" && l.Documents != "trusted" {
			v.add(l.Line, "bad_value", fmt.Sprintf("limits.%s.documents: %q is neither any nor trusted", role, l.Documents), "write any, or trusted")
		}
	}
	return v.problems
}

type validator struct {
	c        *Config
	problems []Problem
}

func (v *validator) add(line int, code, message, hint string) {
	v.problems = append(v.problems, Problem{File: v.c.File, Line: line, Code: code, Message: message, Hint: hint})
}

func (v *validator) source(name string, s Source) {
	at := "sources." + name
	if !sourceName.MatchString(name) {
		v.add(s.Line, "bad_value", at+": a source's name is a lower-case letter, then letters, digits and _ (40 at most)", "")
	}
	if s.Changes != "" && s.Changes != "none" {
		v.add(s.Line, "not_supported", at+".changes: "+s.Changes+" is not supported yet", "write none")
	}
	switch s.Connector {
	case "postgres", "sqlite":
		v.sqlSource(at, s)
	case "openapi":
		v.openapiSource(at, s)
	case "mysql", "graphql", "plugin":
		v.add(s.Line, "not_supported", at+": connector "+s.Connector+" is not supported yet", "")
	case "":
		v.add(s.Line, "bad_value", at+": connector is missing", "write connector: postgres, sqlite or openapi")
	default:
		v.add(s.Line, "unknown_name", fmt.Sprintf("%s: unknown connector %q", at, s.Connector), Nearest(s.Connector, []string{"postgres", "sqlite", "openapi"}))
	}
}

func (v *validator) sqlSource(at string, s Source) {
	if s.URL == "" {
		v.add(s.Line, "bad_value", at+".url is missing", "")
	}
	for key, set := range map[string]bool{"spec": s.Spec != "", "collections": s.Collections != nil, "headers": s.Headers != nil,
		"auth": s.Auth != (Auth{})} {
		if set {
			v.add(s.Line, "bad_value", at+"."+key+" belongs to connector openapi", "")
		}
	}
	if s.Pool.PgBouncer {
		v.add(s.Line, "not_supported", at+".pool.pgbouncer is not supported yet", "")
	}
	for name, o := range s.Outcome {
		switch o.Class {
		case "transactional", "unverifiable":
		case "conditional":
			v.add(s.Line, "not_supported", at+".outcome."+name+": conditional is not supported yet", "write transactional (after countersign prepare) or unverifiable")
		default:
			v.add(s.Line, "bad_value", fmt.Sprintf("%s.outcome.%s: %q is no outcome class of a SQL source", at, name, o.Class), "transactional or unverifiable")
		}
	}
	for name, p := range s.Preview {
		if !slices.Contains([]string{"read", "rollback", "none"}, p) {
			v.add(s.Line, "bad_value", fmt.Sprintf("%s.preview.%s: %q is no preview strategy", at, name, p), "read, rollback or none")
		}
	}
}

func (v *validator) openapiSource(at string, s Source) {
	if s.Spec == "" {
		v.add(s.Line, "bad_value", at+".spec is missing", "the file or URL of the OpenAPI document")
	}
	if u, err := url.Parse(s.URL); err != nil || u.Host == "" {
		v.add(s.Line, "bad_value", at+".url must be the base address of the API", "")
	}
	if s.Pool != (Pool{}) || s.Version != nil || s.Preview != nil || s.Keys != nil || s.References != nil {
		v.add(s.Line, "bad_value", at+": pool, version, preview, keys and references belong to SQL sources", "")
	}
	n := 0
	for _, set := range []bool{s.Auth.Bearer != "", s.Auth.Basic != nil, s.Auth.APIKey != nil} {
		if set {
			n++
		}
	}
	if n > 1 {
		v.add(s.Line, "bad_value", at+".auth: more than one way is given", "keep one")
	}
	for name, o := range s.Outcome {
		switch o.Class {
		case "unverifiable":
		case "idempotent":
			if o.Header == "" || o.Keep == 0 {
				v.add(s.Line, "bad_value", at+".outcome."+name+": idempotent needs header and keep", "{ class: idempotent, header: Idempotency-Key, keep: 24h }")
			}
		case "verifiable", "searchable":
			v.add(s.Line, "not_supported", at+".outcome."+name+": "+o.Class+" is not supported yet", "write idempotent or unverifiable")
		default:
			v.add(s.Line, "bad_value", fmt.Sprintf("%s.outcome.%s: %q is no outcome class of an API", at, name, o.Class), "idempotent or unverifiable")
		}
	}
}

// maxActors bounds how many agents stand behind one another: each is looked at
// on every check.
const maxActors = 10

func (v *validator) identity() {
	seen := map[string]int{}
	for i, is := range v.c.Identity.Issuers {
		at := fmt.Sprintf("identity.issuers[%d]", i)
		if first, twice := seen[is.Issuer]; twice {
			v.add(0, "bad_value", fmt.Sprintf("%s: %s stands at identity.issuers[%d] already", at, is.Issuer, first), "")
		}
		seen[is.Issuer] = i
		v.issuer(at, is)
	}
	if s := v.c.Identity.Sessions; s.Idle <= 0 || s.Max <= 0 || s.Fresh <= 0 || v.c.Identity.MaxAge <= 0 {
		v.add(0, "bad_value", "identity: maxAge and the durations of sessions must be more than 0", "")
	}
	if k := v.c.Identity.APIKeys; k.MaxAge <= 0 || k.Overlap < 0 {
		v.add(0, "bad_value", "identity.apiKeys: maxAge must be more than 0, and overlap not less", "")
	}
	if x := v.c.Identity.Exchange; x.MaxAge <= 0 || x.MaxAge > 15*time.Minute {
		v.add(0, "bad_value", "identity.exchange.maxAge must be more than 0 and at most 15m: who acts for somebody asks again", "")
	} else if x.MaxActors < 1 || x.MaxActors > maxActors {
		v.add(0, "bad_value", fmt.Sprintf("identity.exchange.maxActors must be 1 to %d", maxActors), "")
	}
}

func (v *validator) issuer(at string, is Issuer) {
	bad := func(message, hint string) { v.add(0, "bad_value", at+message, hint) }
	if !secureAddress(is.Issuer) {
		bad(".issuer must be an address that begins with https:// (http:// only on this machine): its keys must not be swapped on the way", "")
	}
	switch {
	case is.Audience == "" && is.SignIn == nil:
		bad(".audience is missing: a token for somebody else would be believed", "write audience, or signIn where people only sign in there")
	case is.Interactive && is.Audience == "":
		bad(".interactive is about tokens, and without an audience none is believed", "write audience")
	case is.Interactive && is.Kind == "service":
		bad(".interactive is for people, and kind is service", "")
	case is.Issuer == gitHub && is.Audience != "":
		bad(".audience: GitHub signs no tokens for others", "leave audience out and write signIn")
	}
	if !slices.Contains([]string{"", "human", "service"}, is.Kind) {
		bad(".kind must be human or service", "")
	}
	if !slices.Contains([]string{"", "sub", "email"}, is.Subject) {
		bad(".subject must be sub or email", "")
	}
	if is.Skew < 0 || is.Skew > 5*time.Minute {
		bad(".skew must be 5m at most: tokens would live longer than their issuer meant", "leave it out for 30s")
	}
	if len(is.Roles.Map) > 0 && is.Roles.From == "" {
		bad(".roles.from is missing: map is of the words in a claim", "")
	}
	if is.SignIn == nil {
		return
	}
	if is.SignIn.ClientID == "" {
		bad(".signIn.clientId is missing", "")
	}
	if is.Kind == "service" {
		bad(".signIn: only people sign in, and kind is service", "")
	}
	if v.c.URL == "" {
		bad(".signIn needs url: the provider sends browsers back to it", "url: https://…, and register that with /auth/callback behind it at the provider")
	}
}

// gitHub is the issuer of GitHub.
const gitHub = "https://github.com"

// secureAddress: https, or http to this machine itself.
func secureAddress(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

func (v *validator) agent(name string, a Agent) {
	at := "agents." + name
	if !sourceName.MatchString(strings.ReplaceAll(name, "-", "_")) {
		v.add(a.Line, "bad_value", at+": an agent's name is a lower-case letter, then letters, digits, - and _", "")
	}
	if a.Owner == "" {
		v.add(a.Line, "bad_value", at+".owner is missing: somebody answers for an agent", "the e-mail address of a person")
	}
	if len(a.Roles) == 0 {
		v.add(a.Line, "bad_value", at+".roles is missing", "")
	}
	if !slices.Contains([]string{"", "required", "optional", "never"}, a.ActsFor) {
		v.add(a.Line, "bad_value", at+".actsFor must be required, optional or never", "")
	}
	if _, err := a.Budget.AmountPerDay(); err != nil {
		v.add(a.Line, "bad_value", at+".budget.amount: "+err.Error(), "")
	}
	if a.Mode != "" && a.Mode != "live" {
		v.add(a.Line, "not_supported", at+".mode: "+a.Mode+" is not supported yet", "write live")
	}
}
