package main

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// notForProduction is the code of everything that must not go live.
const notForProduction = "production"

// A production lists what must not go live.
type production struct {
	p        *project
	problems []config.Problem
}

// production asks the configuration and the views that the policy compiles to;
// it asks no source.
func (p *project) production() []config.Problem {
	c := &production{p: p}
	c.address()
	c.secrets()
	c.signIn()
	c.sources()
	c.agents()
	c.everybody()
	c.frontends()
	c.limits()
	slices.SortStableFunc(c.problems, func(a, b config.Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Message, b.Message))
	})
	return slices.CompactFunc(c.problems, func(a, b config.Problem) bool { return a == b })
}

// key is a problem of a key of countersign.yaml; where it is not written it has
// no line.
func (c *production) key(path, message, hint string) {
	c.problems = append(c.problems, config.Problem{File: c.p.cfg.File, Line: c.p.cfg.Lines[path], Code: notForProduction, Message: message, Hint: hint})
}

// line is a problem of a line of the policy.
func (c *production) line(l policy.LineRef, message, hint string) {
	c.problems = append(c.problems, config.Problem{File: l.File, Line: l.Line, Code: notForProduction, Message: message, Hint: hint})
}

// loopback tells whether an address stays on this machine.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || host == "localhost" || strings.HasPrefix(host, "/") || ip != nil && ip.IsLoopback()
}

// plainRemote tells whether an address is http beyond this machine.
func plainRemote(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Scheme == "http" && !loopback(u.Hostname())
}

// openDatabase tells whether a PostgreSQL address beyond this machine may be
// talked to without TLS, or without knowing whom.
func openDatabase(address string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasPrefix(u.Scheme, "postgres") && !loopback(u.Hostname()) &&
		!slices.Contains([]string{"verify-full", "verify-ca", "require"}, u.Query().Get("sslmode"))
}

const databaseHint = "add ?sslmode=verify-full to the address"

func (c *production) address() {
	cfg := c.p.cfg
	switch {
	case cfg.URL == "":
		c.key("url", "url is missing: links and the session's cookie depend on the public address", "url: https://graph.example")
	case plainRemote(cfg.URL):
		c.key("url", "url is http beyond this machine: credentials go over the network as they are", "write https://, and end TLS in a proxy or with http.tls")
	}
	for i, origin := range cfg.HTTP.CORS.Origins {
		path := fmt.Sprintf("http.cors.origins[%d]", i)
		if strings.Contains(origin, "*") {
			c.key(path, path+" is a wildcard: any page of it may use a visitor's session", "name each origin")
		} else if plainRemote(origin) {
			c.key(path, path+" is http beyond this machine: who is on the network can be that page", "write https://")
		}
	}
}

func (c *production) secrets() {
	cfg := c.p.cfg
	if len(cfg.Secret) == 0 {
		c.key("secret", "the secret is made in the data folder: it is lost with the folder, and other nodes have another one", "secret: ${COUNTERSIGN_SECRET}, from openssl rand -hex 32")
	}
	if openDatabase(cfg.Store) {
		c.key("store", "the store's database is talked to without TLS", databaseHint)
	}
	if !strings.HasPrefix(cfg.Store, "postgres") && len(cfg.Secret) > 0 {
		c.problems = append(c.problems, config.Problem{File: cfg.File, Line: cfg.Lines["store"], Code: notForProduction, Warning: true,
			Message: "the store is SQLite: there can be one server only", Hint: "for more than one, store: ${COUNTERSIGN_STORE} with postgres://…"})
	}
	if name := filepath.Join(cfg.Dir, envName); readableByOthers(name) {
		c.problems = append(c.problems, config.Problem{File: name, Code: notForProduction, Message: "others on this machine can read it", Hint: "chmod 600 " + envName})
	}
}

func (c *production) signIn() {
	id := c.p.cfg.Identity
	if id.LocalUsers && slices.ContainsFunc(id.Issuers, func(i config.Issuer) bool { return i.SignIn != nil }) {
		c.key("identity.localUsers", "people sign in with passwords here beside the provider: who leaves there stays here", "identity: { localUsers: false }")
	}
	switch _, written := c.p.cfg.Lines["identity.apiKeys.maxAge"]; {
	case !written:
		c.key("identity.apiKeys", "identity.apiKeys.maxAge is not written", "apiKeys: { maxAge: 90d }")
	case id.APIKeys.MaxAge > 365*24*time.Hour:
		c.key("identity.apiKeys.maxAge", "API keys live longer than a year", "maxAge: 90d")
	}
}

func (c *production) sources() {
	for _, name := range c.p.cfg.Sources.Names {
		s, at := c.p.cfg.Sources.Values[name], "sources."+name+".url"
		if plainRemote(s.URL) {
			c.key(at, at+" is http beyond this machine: credentials and records go over the network as they are", "write https://")
		}
		if openDatabase(s.URL) {
			c.key(at, at+": the database is talked to without TLS", databaseHint)
		}
	}
}

// writes are the accesses of a view that change something, by act.
func writes(a *policy.Access) map[policy.Act]*policy.WriteAccess {
	out := map[policy.Act]*policy.WriteAccess{policy.Create: a.Create, policy.Update: a.Update, policy.Delete: a.Delete, policy.Call: a.Call}
	for act, w := range out {
		if w == nil {
			delete(out, act)
		}
	}
	return out
}

func (c *production) agents() {
	for _, name := range c.p.cfg.Agents.Names {
		a, at := c.p.cfg.Agents.Values[name], "agents."+name
		if a.Budget == (config.Budget{}) {
			c.key(at, at+" has no budget: a loop costs what it takes", "budget: { requests: 60/min, rowsWritten: 200/day }")
		}
		v := c.p.policy.View(&policy.Principal{ID: "agent:" + name, Kind: policy.Agent, Tenant: policy.DefaultTenant, Roles: a.Roles})
		mayWrite := false
		for _, object := range slices.Sorted(maps.Keys(v.Objects)) {
			access := v.Objects[object]
			for act, w := range writes(access) {
				if f := c.p.catalog.Function(object); f != nil && f.Reads() {
					continue
				}
				mayWrite = true
				c.direct(at, object, act, w)
			}
		}
		if acts := cmp.Or(a.ActsFor, "optional"); mayWrite && acts != "required" {
			c.key(at, fmt.Sprintf("%s may write and acts for nobody (actsFor: %s): no person's rights bound it", at, acts), "actsFor: required")
		}
	}
}

// direct looks at what an agent may do without anybody's approval.
func (c *production) direct(at, object string, act policy.Act, w *policy.WriteAccess) {
	d := w.Decide(nil)
	if d == nil || d.Effect != policy.Allow {
		return
	}
	where := policy.LineRef{File: c.p.cfg.File, Line: c.p.cfg.Lines[at]}
	if len(d.Lines) > 0 {
		where = d.Lines[0]
	} else if len(w.Lines) > 0 {
		where = w.Lines[0]
	}
	if act == policy.Delete && d.Permit == nil {
		c.line(where, fmt.Sprintf("%s may delete every record of %s at once", at, object), "write propose, or a condition")
	}
	if c.unverifiable(object, act) {
		c.line(where, fmt.Sprintf("%s may %s %s at once, and if the connection breaks nobody will know whether it was done", at, act, object), "write propose, or give the source an outcome class")
	}
}

// unverifiable tells whether nothing can be known of a write whose answer is lost.
func (c *production) unverifiable(object string, act policy.Act) bool {
	if coll := c.p.catalog.Collection(object); coll != nil {
		a := coll.Act(connectors.StepKind(act))
		return a != nil && a.Class == connectors.Unverifiable
	}
	f := c.p.catalog.Function(object)
	return f != nil && f.Spec.Act != nil && f.Spec.Act.Class == connectors.Unverifiable
}

// everybody looks at what opens something to who brings nothing, or to all.
func (c *production) everybody() {
	open := func(p *policy.Principal, role, message string) {
		v := c.p.policy.View(p)
		for _, object := range slices.Sorted(maps.Keys(v.Objects)) {
			a := v.Objects[object]
			var lines []policy.LineRef
			if a.Read != nil {
				lines = append(lines, a.Read.Lines...)
			}
			for _, w := range writes(a) {
				lines = append(lines, w.Lines...)
			}
			for _, l := range lines {
				if l.Role == role && l.Effect != policy.Denied {
					c.line(l, message, "name a role")
				}
			}
		}
	}
	open(&policy.Principal{ID: "anonymous", Kind: policy.Anonymous, Tenant: policy.DefaultTenant}, "anonymous", "the line opens something to who brings no credential")
	open(&policy.Principal{ID: "user:nobody", Kind: policy.Human, Tenant: policy.DefaultTenant}, "*", "the line opens something to everybody")
}

// frontends looks at the roles that pages of others hand out: what their users
// send is not what the page would send.
func (c *production) frontends() {
	roles := map[string]bool{}
	if v := c.p.policy.View(&policy.Principal{ID: "anonymous", Kind: policy.Anonymous, Tenant: policy.DefaultTenant}); len(v.Objects) > 0 {
		roles["anonymous"] = true
	}
	for _, is := range c.p.cfg.Identity.Issuers {
		if is.SignIn != nil || is.Interactive || is.Kind == "service" {
			continue
		}
		for _, r := range is.Roles.Fixed {
			roles[r] = true
		}
		for _, r := range is.Roles.Map {
			roles[r] = true
		}
	}
	everybody := c.p.cfg.Limits.Values["*"]
	for _, role := range slices.Sorted(maps.Keys(roles)) {
		l := c.p.cfg.Limits.Values[role]
		introspection := l.Introspection
		if introspection == nil {
			introspection = everybody.Introspection
		}
		if introspection == nil || *introspection {
			c.key("limits."+role, "the role "+role+" is a frontend's, and its users may read the schema", "limits: { "+role+": { introspection: false } }")
		}
		if cmp.Or(l.Documents, everybody.Documents) != "trusted" {
			c.key("limits."+role, "the role "+role+" is a frontend's, and its users may send any document", "limits: { "+role+": { documents: trusted } }")
		}
	}
}

// tooFar is how many times a default a limit may be.
const tooFar = 10

func (c *production) limits() {
	base := config.DefaultLimits()
	for _, role := range slices.Sorted(maps.Keys(c.p.cfg.Limits.Values)) {
		l := c.p.cfg.Limits.Values[role]
		for _, x := range []struct {
			name       string
			have, base int64
		}{{"depth", int64(l.Depth), int64(base.Depth)}, {"aliases", int64(l.Aliases), int64(base.Aliases)}, {"tokens", int64(l.Tokens), int64(base.Tokens)},
			{"page", int64(l.Page), int64(base.Page)}, {"maxRows", int64(l.MaxRows), int64(base.MaxRows)},
			{"body", int64(l.Body), int64(base.Body)}, {"timeout", int64(l.Timeout), int64(base.Timeout)}} {
			if path := "limits." + role + "." + x.name; x.have > tooFar*x.base {
				c.key(path, path+" is more than ten times the default: it bounds nothing", "leave it out, or write less")
			}
		}
	}
}

// readableByOthers tells whether a file that is there has a mode that lets others
// read it.
func readableByOthers(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().Perm()&0o077 != 0
}
