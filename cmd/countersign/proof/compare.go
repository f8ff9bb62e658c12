package proof

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
)

// got is what came of a run, as far as expectations look at it.
type got struct {
	data     any
	outcomes []string
	codes    []string // of the answer's errors and those in payloads
	messages []string
	proposal *proposals.Dossier // nil: nothing was proposed
}

// compare tells what is not as expected, in words.
func (r *runner) compare(ctx context.Context, w *world, who *policy.Principal, resp *gateway.Response, want *policy.TestExpect) ([]string, error) {
	g, err := read(ctx, w, resp)
	if err != nil {
		return nil, err
	}
	var out []string
	fail := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if want.Error == "" && len(resp.Errors) > 0 && (want.Data != nil || want.Outcome != "" || want.Rule != "") {
		fail("got errors: %s", strings.Join(g.messages, "; "))
	}
	if want.Error != "" && !slices.Contains(g.codes, want.Error) {
		fail("expected the error %s, got %s", want.Error, orNone(g.messages))
	}
	if want.Data != nil {
		expected, err := decode(want.Data)
		if err != nil {
			return nil, err
		}
		out = append(out, differ("data", expected, g.data)...)
	}
	if want.Outcome != "" {
		switch {
		case len(g.outcomes) == 0 && len(resp.Errors) == 0:
			fail("expected the outcome %s: select outcome in the operation", want.Outcome)
		case len(g.outcomes) == 0 || slices.ContainsFunc(g.outcomes, func(o string) bool { return o != want.Outcome }):
			fail("expected the outcome %s, got %s", want.Outcome, orNone(g.outcomes))
		}
	}
	r.routed(fail, g, want)
	if len(want.Absent) > 0 {
		schema, err := r.cfg.Catalog.Schema(r.cfg.Policy.View(who))
		if err != nil {
			return nil, err
		}
		for _, element := range want.Absent {
			if typeName, field, _ := strings.Cut(element, "."); has(schema, typeName, field) {
				fail("expected %s to be absent, and it exists", element)
			}
		}
	}
	if len(want.MayDecide)+len(want.MayNotDecide) > 0 {
		r.deciders(ctx, w, fail, g, want)
	}
	return out, nil
}

// routed compares what became of a proposal.
func (r *runner) routed(fail func(string, ...any), g *got, want *policy.TestExpect) {
	if want.Rule == "" && want.ApprovedBy == "" {
		return
	}
	if g.proposal == nil {
		fail("expected a proposal, and nothing was proposed")
		return
	}
	p := &g.proposal.Proposal
	if want.Rule != "" && !slices.Contains(strings.Split(p.Rule, ","), want.Rule) {
		rule := p.Rule
		if rule == "" {
			rule = "the defaults"
		}
		fail("expected the rule %s, got %s", want.Rule, rule)
	}
	if want.ApprovedBy == "rule" && (p.State == proposals.Pending || p.State == proposals.Rejected || p.State == proposals.ChangesRequested) {
		fail("expected a rule to approve, and the proposal is %s", p.State)
	}
}

// deciders asks for each person whether they could approve now.
func (r *runner) deciders(ctx context.Context, w *world, fail func(string, ...any), g *got, want *policy.TestExpect) {
	if g.proposal == nil {
		fail("expected a proposal to decide on, and nothing was proposed")
		return
	}
	handle := g.proposal.Proposal.Handle
	for _, name := range want.MayDecide {
		if err := w.service.CanApprove(ctx, r.who(name), handle); err != nil {
			fail("expected that %s may decide: %v", name, err)
		}
	}
	for _, name := range want.MayNotDecide {
		if w.service.CanApprove(ctx, r.who(name), handle) == nil {
			fail("expected that %s may not decide, and they may", name)
		}
	}
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, "; ")
}

// read takes the answer apart and finds the proposal that was made.
func read(ctx context.Context, w *world, resp *gateway.Response) (*got, error) {
	g := &got{}
	for _, e := range resp.Errors {
		g.codes = append(g.codes, string(e.Code))
		g.messages = append(g.messages, fmt.Sprintf("%s (%s)", e.Message, e.Code))
	}
	var err error
	if resp.Data != nil {
		if g.data, err = decode(resp.Data); err != nil {
			return nil, err
		}
		g.payloads()
	}
	heads, err := w.store.List(ctx, proposals.Filter{Tenant: policy.DefaultTenant, Limit: 1})
	if err != nil || len(heads) == 0 {
		return g, err
	}
	g.proposal, err = w.store.Get(ctx, policy.DefaultTenant, proposals.Ref{Handle: heads[0].Handle})
	return g, err
}

// payloads gathers outcomes and errors of the root fields.
func (g *got) payloads() {
	root, ok := g.data.(map[string]any)
	if !ok {
		return
	}
	for _, field := range root {
		payload, _ := field.(map[string]any)
		if o, ok := payload["outcome"].(string); ok {
			g.outcomes = append(g.outcomes, o)
		}
		list, _ := payload["errors"].([]any)
		for _, e := range list {
			if m, ok := e.(map[string]any); ok {
				code, _ := m["code"].(string)
				message, _ := m["message"].(string)
				g.codes = append(g.codes, code)
				g.messages = append(g.messages, strings.TrimSpace(message+" ("+code+")"))
			}
		}
	}
	slices.Sort(g.outcomes)
}

func decode(raw []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var out any
	err := dec.Decode(&out)
	return out, err
}

// maxDiffs bounds what is told of one answer.
const maxDiffs = 10

// differ lists where two JSON values differ. Numbers are equal by value.
func differ(path string, want, have any) []string {
	var out []string
	switch w := want.(type) {
	case map[string]any:
		h, ok := have.(map[string]any)
		if !ok {
			return []string{differs(path, want, have)}
		}
		keys := map[string]bool{}
		for k := range w {
			keys[k] = true
		}
		for k := range h {
			keys[k] = true
		}
		for _, k := range sorted(keys) {
			wv, wanted := w[k]
			hv, there := h[k]
			switch {
			case !there:
				out = append(out, fmt.Sprintf("%s.%s: expected %s, and it is not in the answer", path, k, show(wv)))
			case !wanted:
				out = append(out, fmt.Sprintf("%s.%s: not expected, got %s", path, k, show(hv)))
			default:
				out = append(out, differ(path+"."+k, wv, hv)...)
			}
		}
	case []any:
		h, ok := have.([]any)
		if !ok || len(h) != len(w) {
			return []string{differs(path, want, have)}
		}
		for i := range w {
			out = append(out, differ(fmt.Sprintf("%s[%d]", path, i), w[i], h[i])...)
		}
	default:
		if !same(want, have) {
			out = append(out, differs(path, want, have))
		}
	}
	if len(out) > maxDiffs {
		out = append(out[:maxDiffs], "…")
	}
	return out
}

func differs(path string, want, have any) string {
	return fmt.Sprintf("%s: expected %s, got %s", path, show(want), show(have))
}

func same(a, b any) bool {
	x, okX := a.(json.Number)
	y, okY := b.(json.Number)
	if okX && okY {
		p, okP := new(big.Rat).SetString(x.String())
		q, okQ := new(big.Rat).SetString(y.String())
		return okP && okQ && p.Cmp(q) == 0
	}
	return a == b
}

// maxShown bounds one value that is told.
const maxShown = 400

func show(v any) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return "?"
	}
	text := strings.TrimSpace(b.String())
	if len(text) > maxShown {
		text = strings.ToValidUTF8(text[:maxShown], "") + "…"
	}
	return text
}

func sorted(set map[string]bool) []string {
	out := make([]string, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
