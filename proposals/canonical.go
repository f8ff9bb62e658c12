package proposals

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/countersign/countersign/connectors"
)

// EncodingVersion is the version of the canonical form of a revision. What was
// hashed under an older one is compared under that.
const EncodingVersion = 1

// What stands before the bytes that are hashed, so that no digest of one kind
// can be taken for one of another.
const (
	contentDomain = "countersign/proposal/v1\x00"
	reviewDomain  = "countersign/review/v1\x00"
	dedupeDomain  = "countersign/dedupe/v1\x00"
	secretDomain  = "countersign/secret/v1\x00"
	keyDomain     = "countersign/key/v1\x00"
)

// Keys are the store's HMAC keys by id. New hashes use Current; old ones are
// found again by the id they were made with.
type Keys struct {
	Current string
	ByID    map[string][]byte
}

// mac answers the HMAC under the key of that id; an unknown id is an error,
// never an empty key.
func (k Keys) mac(id, domain string, data []byte) ([]byte, error) {
	key, ok := k.ByID[id]
	if !ok || len(key) < 16 {
		return nil, connectors.Errorf(connectors.CodeInternal, "a key is missing")
	}
	h := hmac.New(sha256.New, key)
	h.Write([]byte(domain))
	h.Write(data)
	return h.Sum(nil), nil
}

// Canonical is the canonical form of a revision's content: JSON by RFC 8785 in
// which no number stands and every scalar is a pair. It holds everything that
// decides what is sent, to which system, on which conditions and when.
// Sensitive values enter as HMAC under the revision's key.
func Canonical(p *Proposal, r *Revision, keys Keys) ([]byte, error) {
	str := func(b []byte, s string) []byte { return connectors.String(s).AppendCanonical(b) }
	b := []byte(`{"changes":[`)
	for i := range r.Set.Changes {
		if i > 0 {
			b = append(b, ',')
		}
		c, err := sealSensitive(&r.Set, i, r.KeyID, keys)
		if err != nil {
			return nil, err
		}
		b = c.AppendCanonical(b)
	}
	b = append(b, `],"encoding":`...)
	b = str(b, strconv.Itoa(r.Encoding))
	if !p.ExecDeadline.IsZero() {
		b = append(b, `,"execDeadline":`...)
		b = str(b, instant(p.ExecDeadline))
	}
	b = append(b, `,"files":[`...)
	for i, e := range r.Evidence {
		if i > 0 {
			b = append(b, ',')
		}
		b = str(b, e)
	}
	b = append(b, ']')
	if !p.NotBefore.IsZero() {
		b = append(b, `,"notBefore":`...)
		b = str(b, instant(p.NotBefore))
	}
	b = append(b, `,"proposal":`...)
	b = str(b, p.ID)
	b = append(b, `,"revision":`...)
	b = str(b, strconv.Itoa(r.Number))
	b = append(b, `,"targets":[`...)
	for i, t := range r.Set.Targets {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"atomic":`...)
		b = connectors.Bool(t.Atomic).AppendCanonical(b)
		b = append(b, `,"identity":`...)
		b = str(b, t.Identity)
		b = append(b, `,"schemaHash":`...)
		b = str(b, t.SchemaHash)
		b = append(b, `,"sensitive":[`...)
		for j, f := range t.Sensitive {
			if j > 0 {
				b = append(b, ',')
			}
			b = str(b, f)
		}
		b = append(b, `],"source":`...)
		b = str(b, t.Source)
		b = append(b, '}')
	}
	b = append(b, `],"tenant":`...)
	b = str(b, p.Tenant)
	return append(b, '}'), nil
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// ContentHash is SHA-256 over the domain and the canonical form, in hex.
func ContentHash(p *Proposal, r *Revision, keys Keys) (string, error) {
	form, err := Canonical(p, r, keys)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte(contentDomain), form...))
	return hex.EncodeToString(sum[:]), nil
}

// ReviewHash binds a content hash to the frozen review document.
func ReviewHash(contentHash string, review *Review) (string, error) {
	form, err := canonicalReview(review)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256(form)
	b := append([]byte(reviewDomain), contentHash...)
	b = append(b, 0)
	sum := sha256.Sum256(append(b, digest[:]...))
	return hex.EncodeToString(sum[:]), nil
}

// canonicalReview is the canonical form of plain data that may hold numbers:
// each becomes the pair of its text.
func canonicalReview(review *Review) ([]byte, error) {
	raw, err := json.Marshal(review)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return nil, err
	}
	return connectors.CanonicalJSON(pairNumbers(tree))
}

func pairNumbers(v any) any {
	switch x := v.(type) {
	case json.Number:
		return []any{"number", x.String()}
	case []any:
		for i := range x {
			x[i] = pairNumbers(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = pairNumbers(x[k])
		}
	}
	return v
}

// DedupeKey is equal for equal change sets of the same author chain in one
// tenant: without ids, preconditions, reason, deadlines, and what is read back.
func DedupeKey(p *Proposal, set *ChangeSet, keys Keys) (string, error) {
	b := []byte{'['}
	for _, s := range []string{p.Tenant, p.Author.Principal, p.Author.For} {
		b = connectors.String(s).AppendCanonical(b)
		b = append(b, ',')
	}
	for _, l := range p.Author.Via {
		b = connectors.String(l.ID).AppendCanonical(append(b, '+'))
	}
	for i := range set.Changes {
		c := set.Changes[i]
		c.Marker = nil
		c.Steps = slices.Clone(c.Steps)
		for j := range c.Steps {
			c.Steps[j].ID, c.Steps[j].Expect, c.Steps[j].Return, c.Steps[j].Preview = "", nil, nil, ""
		}
		b = c.AppendCanonical(b)
		b = append(b, ',')
	}
	sum, err := keys.mac(keys.Current, dedupeDomain, b)
	return hex.EncodeToString(sum), err
}

// RequestDigest is what an idempotency key is compared by: the operation as
// asked, with the options that change what it does.
func RequestDigest(document string, variables []byte, options ...string) string {
	b := connectors.String(document).AppendCanonical(nil)
	b = connectors.String(string(variables)).AppendCanonical(append(b, ','))
	for _, o := range options {
		b = connectors.String(o).AppendCanonical(append(b, ','))
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// idempotencyKey is sent with a step: bound to the content that was approved,
// the same for every attempt.
func idempotencyKey(contentHash string, change, stepIndex int) string {
	sum := sha256.Sum256([]byte(keyDomain + contentHash + "/" + strconv.Itoa(change) + "/" + strconv.Itoa(stepIndex)))
	return "cs-" + hex.EncodeToString(sum[:20])
}

// sealSensitive is a copy of a change in which sensitive values are HMACs.
func sealSensitive(set *ChangeSet, change int, keyID string, keys Keys) (*connectors.Change, error) {
	c := set.Changes[change]
	s := &sealer{keys: keys, keyID: keyID}
	for _, t := range set.Targets {
		if t.Source == c.Source {
			s.fields = t.Sensitive
		}
	}
	if len(s.fields) == 0 {
		return &c, nil
	}
	c.Steps = slices.Clone(c.Steps)
	for i := range c.Steps {
		st := &c.Steps[i]
		object := st.Collection
		if st.Function != "" {
			object = st.Function
		}
		st.Key, st.Set = s.assigns(object, st.Key), s.assigns(object, st.Set)
		st.Expect = slices.Clone(st.Expect)
		for j := range st.Expect {
			st.Expect[j].Key = s.assigns(object, st.Expect[j].Key)
			st.Expect[j].Fields = s.assigns(object, st.Expect[j].Fields)
		}
		st.Args = s.value(object, st.Args)
		st.Where, st.Check = s.condition(object, st.Where), s.condition(object, st.Check)
	}
	return &c, s.err
}

// A sealer replaces values of sensitive fields.
type sealer struct {
	keys   Keys
	keyID  string
	fields []string
	err    error
}

func (s *sealer) hide(v connectors.Value) connectors.Value {
	sum, err := s.keys.mac(s.keyID, secretDomain, v.AppendCanonical(nil))
	if err != nil {
		s.err = err
	}
	return connectors.ListOf(connectors.String("hmac"), connectors.String(s.keyID), connectors.String(hex.EncodeToString(sum)))
}

func (s *sealer) assigns(object string, in []connectors.Assign) []connectors.Assign {
	out := slices.Clone(in)
	for i := range out {
		out[i].Value = s.at(object+"."+out[i].Field, out[i].Value)
	}
	return out
}

// at hides the value where the path, or what leads to it, is sensitive.
func (s *sealer) at(path string, v connectors.Value) connectors.Value {
	if slices.Contains(s.fields, path) {
		return s.hide(v)
	}
	return s.value(path, v)
}

// value walks objects; items of lists have the path of their list.
func (s *sealer) value(path string, v connectors.Value) connectors.Value {
	switch v.Kind {
	case connectors.KindObject:
		members := slices.Clone(v.Members)
		for i := range members {
			members[i].Value = s.at(path+"."+members[i].Name, members[i].Value)
		}
		v.Members = members
	case connectors.KindList:
		items := slices.Clone(v.Items)
		for i := range items {
			items[i] = s.value(path, items[i])
		}
		v.Items = items
	}
	return v
}

func (s *sealer) condition(object string, c *connectors.Condition) *connectors.Condition {
	if c == nil {
		return nil
	}
	out := *c
	if slices.Contains(s.fields, object+"."+c.Field) {
		out.Operand.Const = s.hide(c.Operand.Const)
	}
	out.Items = slices.Clone(c.Items)
	for i := range out.Items {
		out.Items[i] = s.condition(object, out.Items[i])
	}
	if c.Relation != nil {
		r := *c.Relation
		r.Where = s.condition(r.To, r.Where)
		out.Relation = &r
		out.Inner = s.condition(r.To, c.Inner)
	}
	return &out
}

// validText refuses strings that are no UTF-8: their canonical form would not
// be JSON, and what people see would not be what is sent.
func validText(set *ChangeSet) error {
	raw := make([]byte, 0, 1024)
	for i := range set.Changes {
		raw = set.Changes[i].AppendCanonical(raw)
	}
	for _, t := range set.Targets {
		raw = append(append(raw, t.Source...), t.Identity...)
	}
	if !utf8.Valid(raw) {
		return connectors.Errorf(connectors.CodeBadInput, "text must be valid UTF-8")
	}
	return nil
}
