package gateway

import (
	"bytes"
	"container/list"
	"encoding/json"
	"strings"
	"sync"

	"github.com/countersign/countersign/connectors"
)

// Clients that follow the protocol of automatic persisted queries know these
// two messages by heart.
const (
	persistedNotFound     = "PersistedQueryNotFound"
	persistedNotSupported = "PersistedQueryNotSupported"
)

// hash is extensions.persistedQuery.sha256Hash of the request, in lower case; ""
// without one.
func (r *Request) hash() (string, []Error) {
	if !bytes.Contains(r.Extensions, []byte(`persistedQuery`)) {
		return "", nil
	}
	var ext struct {
		PersistedQuery *struct {
			Version    int    `json:"version"`
			SHA256Hash string `json:"sha256Hash"`
		} `json:"persistedQuery"`
	}
	if err := json.Unmarshal(r.Extensions, &ext); err != nil {
		return "", refuse(connectors.CodeBadInput, "extensions.persistedQuery must have a version and a sha256Hash")
	}
	if ext.PersistedQuery == nil {
		return "", nil
	}
	hash := strings.ToLower(ext.PersistedQuery.SHA256Hash)
	if ext.PersistedQuery.Version != 1 || len(hash) != 64 || !isHex(hash) {
		return "", refuse(connectors.CodeBadInput, "extensions.persistedQuery must have version 1 and a sha256Hash of 64 hex digits")
	}
	return hash, nil
}

// identify finds the document that a request means, and refuses one that this
// caller may not send.
func (g *Gateway) identify(c *call) []Error {
	req, trusted := c.req, c.snap.Trusted
	must := (c.state.limits.Documents == DocumentsTrusted || trusted.restricted(c.principal)) && !g.cfg.AnyDocument
	if req.ID == "" && len(req.Extensions) == 0 && !must {
		return c.asText() // the common case
	}
	hash, errs := req.hash()
	if errs != nil {
		return errs
	}
	if hash != "" && req.Query != "" && digest(req.Query) != hash {
		return refuse(connectors.CodeBadInput, "the text's SHA-256 is not the one in extensions.persistedQuery")
	}
	switch {
	case req.ID != "" && (req.Query != "" || hash != ""):
		return refuse(connectors.CodeBadInput, "a request has a query or an id, not both")
	case req.ID != "":
		return g.named(c, trusted.find(req.ID), must)
	case hash != "" && req.Query == "":
		if d := trusted.find(hash); d != nil {
			return g.named(c, d, must)
		}
		if must {
			return refuse(connectors.CodePersistedNotFound, persistedNotFound)
		}
		return g.kept(c, hash)
	case must:
		d, typed := trusted.match(req.Query, c.state.limits.Tokens)
		if d == nil || !trusted.may(c.principal, d) {
			return refuse(connectors.CodeOperationNotAllowed, "this caller may send trusted documents only, and this is none of them")
		}
		if typed {
			// The client wants its __typename: its own text is run.
			d = d.typed(req.Query)
		}
		return c.trust(d)
	}
	return c.asText()
}

func (c *call) asText() []Error {
	if c.req.Query == "" {
		return refuse(connectors.CodeBadInput, "the request has no query")
	}
	return nil
}

// named makes the call one of the trusted document that the caller named.
func (g *Gateway) named(c *call, d *TrustedDocument, must bool) []Error {
	if d == nil {
		return refuse(connectors.CodePersistedNotFound, "there is no trusted document of that id")
	}
	if must && !c.snap.Trusted.may(c.principal, d) {
		return refuse(connectors.CodeOperationNotAllowed, "this caller may not send that operation")
	}
	c.named = true
	return c.trust(d)
}

// trust makes the call one of a trusted document.
func (c *call) trust(d *TrustedDocument) []Error {
	if c.req.OperationName != "" && c.req.OperationName != d.Name {
		return refuse(connectors.CodeBadInput, "the document has no operation of that name")
	}
	vars, errs := d.bind(c.principal, c.req.Variables)
	if errs != nil {
		return errs
	}
	req := *c.req
	req.Query, req.Variables, req.OperationName = d.Text, vars, d.Name
	c.req, c.trusted = &req, d
	return nil
}

// kept answers a text that a client of this tenant registered.
func (g *Gateway) kept(c *call, hash string) []Error {
	if g.persisted == nil {
		return refuse(connectors.CodePersistedNotFound, persistedNotSupported)
	}
	text, ok := g.persisted.get(c.principal.Tenant, hash)
	if !ok {
		return refuse(connectors.CodePersistedNotFound, persistedNotFound)
	}
	req := *c.req
	req.Query = text
	c.req = &req
	return nil
}

// keep registers a text that was sent with its hash. It was validated: what
// nobody can run takes no room. Whoever may send trusted documents only
// registers nothing.
func (g *Gateway) keep(c *call) {
	if len(c.req.Extensions) == 0 || g.persisted == nil || c.trusted != nil {
		return
	}
	if hash, errs := c.req.hash(); errs == nil && hash != "" {
		g.persisted.put(c.principal.Tenant, hash, c.req.Query)
	}
}

// maxTenants bounds for how many tenants texts are kept at a time.
const maxTenants = 128

// persisted keeps the texts of automatic persisted queries, per tenant, so that
// one cannot ask for, or push out, those of another. It decides speed only: a
// client whose text is gone sends it again. It may be used by any number of
// goroutines; nil keeps nothing.
type persisted struct {
	most    int // bytes per tenant
	tenants *generations[string, *texts]
}

func newPersisted(most int) *persisted {
	if most <= 0 {
		return nil
	}
	return &persisted{most: most, tenants: newGenerations[string, *texts](maxTenants)}
}

func (p *persisted) get(tenant, hash string) (string, bool) {
	t, ok := p.tenants.get(tenant)
	if !ok {
		return "", false
	}
	return t.get(hash)
}

func (p *persisted) put(tenant, hash, text string) {
	t, ok := p.tenants.get(tenant)
	if !ok {
		t = &texts{byHash: map[string]*list.Element{}, most: p.most}
		p.tenants.put(tenant, t)
	}
	t.put(hash, text)
}

// texts are those of one tenant; the one that was not used for longest goes
// first.
type texts struct {
	mu     sync.Mutex
	byHash map[string]*list.Element
	used   list.List // of *keptText, the last used in front
	bytes  int
	most   int
}

type keptText struct{ hash, text string }

// size is what a text is counted as: it is kept with its hash and its place.
func (k *keptText) size() int { return len(k.hash) + len(k.text) + 128 }

func (t *texts) get(hash string) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e, ok := t.byHash[hash]
	if !ok {
		return "", false
	}
	t.used.MoveToFront(e)
	return e.Value.(*keptText).text, true
}

func (t *texts) put(hash, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e, ok := t.byHash[hash]; ok {
		t.used.MoveToFront(e)
		return
	}
	k := &keptText{hash: hash, text: text}
	if k.size() > t.most {
		return
	}
	t.byHash[hash] = t.used.PushFront(k)
	t.bytes += k.size()
	for t.bytes > t.most {
		e := t.used.Back()
		old := t.used.Remove(e).(*keptText)
		delete(t.byHash, old.hash)
		t.bytes -= old.size()
	}
}
