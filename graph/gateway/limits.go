package gateway

import (
	"encoding/binary"
	"time"

	"github.com/countersign/countersign/policy"
)

// Limits bound what one caller may ask. Every field is set; New refuses zeros.
type Limits struct {
	Depth         int           // levels of selection
	Aliases       int           // aliased fields of a document
	Tokens        int           // lexical tokens of a document
	Cost          int           // estimated cells of an operation
	Page          int           // records per page
	MaxRows       int           // records one write may touch
	Body          int64         // bytes of a request
	Timeout       time.Duration // of a whole operation
	Rows          int           // records that an operation may read, over all its steps
	Response      int64         // bytes of an answer's data
	Batch         int           // operations in one request; 1: no lists
	Introspection Switch
	Documents     Documents
}

// A Switch is on, off, or not said.
type Switch uint8

// The states of a switch.
const (
	NotSaid Switch = iota
	Off
	On
)

// Documents says which documents a caller may send. The larger allows more.
type Documents uint8

// What may be sent: nothing said, trusted documents only, any.
const (
	DocumentsNotSaid Documents = iota
	DocumentsTrusted
	DocumentsAny
)

// SwitchOf reads an optional boolean.
func SwitchOf(v *bool) Switch {
	switch {
	case v == nil:
		return NotSaid
	case *v:
		return On
	}
	return Off
}

// Over fills what is not said from others.
func (l Limits) Over(others Limits) Limits { return merge(others, l, override) }

// RoleLimits are limits by role; "*" is everybody's. A zero field of a role is
// not said, and the one of "*" holds.
type RoleLimits map[string]Limits

// For answers a principal's limits: of several roles the largest of each, along
// the chain from agent to person the smallest.
func (r RoleLimits) For(p *policy.Principal, roles func(*policy.Principal) []string) Limits {
	out := r.one(roles(p))
	if p.Kind == policy.Anonymous {
		out = merge(r["*"], r["anonymous"], override)
	}
	if p.For != nil {
		out = merge(out, r.For(p.For, roles), smaller)
	}
	return out
}

func (r RoleLimits) one(roles []string) Limits {
	base := r["*"]
	var out Limits
	found := false
	for _, role := range roles {
		l, ok := r[role]
		if !ok || role == "*" { // everybody has that one; a role of theirs may say less
			continue
		}
		l = merge(base, l, override)
		if !found {
			out, found = l, true
			continue
		}
		out = merge(out, l, larger)
	}
	if !found {
		return base
	}
	return out
}

type choose func(a, b int64) int64

func override(a, b int64) int64 {
	if b != 0 {
		return b
	}
	return a
}

func larger(a, b int64) int64 { return max(a, b) }

func smaller(a, b int64) int64 { return min(a, b) }

func merge(a, b Limits, pick choose) Limits {
	return Limits{
		Depth:         int(pick(int64(a.Depth), int64(b.Depth))),
		Aliases:       int(pick(int64(a.Aliases), int64(b.Aliases))),
		Tokens:        int(pick(int64(a.Tokens), int64(b.Tokens))),
		Cost:          int(pick(int64(a.Cost), int64(b.Cost))),
		Page:          int(pick(int64(a.Page), int64(b.Page))),
		MaxRows:       int(pick(int64(a.MaxRows), int64(b.MaxRows))),
		Body:          pick(a.Body, b.Body),
		Timeout:       time.Duration(pick(int64(a.Timeout), int64(b.Timeout))),
		Rows:          int(pick(int64(a.Rows), int64(b.Rows))),
		Response:      pick(a.Response, b.Response),
		Batch:         int(pick(int64(a.Batch), int64(b.Batch))),
		Introspection: Switch(pick(int64(a.Introspection), int64(b.Introspection))),
		Documents:     Documents(pick(int64(a.Documents), int64(b.Documents))),
	}
}

// appendKey appends what of the limits decides a plan.
func (l *Limits) appendKey(b []byte) []byte {
	for _, n := range [...]int{l.Page, l.MaxRows, l.Cost, l.Depth} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}
