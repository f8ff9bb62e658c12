package policy

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/countersign/countersign/connectors"
)

// A Remote is where and how a validator over HTTP is asked.
type Remote struct {
	URL string
	// Secret signs what is sent.
	Secret   string
	Deadline time.Duration
	// Claims are the names of those that are sent with the principal.
	Claims []string
	// Allow are networks of this site that it may be in.
	Allow []netip.Prefix
}

// An Asker asks validators over HTTP. It is called by several goroutines at once.
type Asker interface {
	// Ask sends one question and reads the answer, within Remote.Deadline. Any
	// failure to get an answer that is one is an error: the caller then does what
	// onFailure says, and never lets it pass.
	Ask(ctx context.Context, r *Remote, body []byte) (*Answer, error)
}

// An Answer is what a validator over HTTP says.
type Answer struct {
	OK bool
	// Say and Path are shown to who asks where it is not OK; Path is a field of
	// the input by its graph name.
	Say  string
	Path string
}

// Loopback tells whether a host of a URL is this machine itself.
func Loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// The questions about one operation that are asked at once, and how much of what
// an answer says is shown.
const (
	askAtOnce = 8
	sayLength = 500 // characters
)

// A Question is a step with checks that are Unasked.
type Question struct {
	Writing *Writing
	Checks  []Check
	// Refusals are the errors of those that did not pass.
	Refusals []*connectors.Error
}

// AskRemote asks the validators over HTTP of several steps, and gives their checks a
// verdict: none is Unasked afterwards. A nil asker is a failure.
func (e *Engine) AskRemote(ctx context.Context, asker Asker, questions []*Question) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, askAtOnce)
	for _, q := range questions {
		if !slices.ContainsFunc(q.Checks, func(c Check) bool { return c.Verdict == Unasked }) {
			continue
		}
		slots <- struct{}{}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			e.ask(ctx, asker, q)
		}()
	}
	wg.Wait()
}

func (e *Engine) ask(ctx context.Context, asker Asker, q *Question) {
	o := e.names.byName[q.Writing.Object]
	for i := range q.Checks {
		c := &q.Checks[i]
		if c.Verdict != Unasked {
			continue
		}
		at := slices.IndexFunc(e.approvals.byObject[o], func(v *validator) bool { return v.name == c.Validator })
		if at < 0 {
			c.Verdict = Refused
			q.Refusals = append(q.Refusals, connectors.Errorf(connectors.CodeInternal, "a validator that is not there"))
			continue
		}
		v := e.approvals.byObject[o][at]
		answer, err := e.answer(ctx, asker, v, q.Writing)
		switch {
		case err != nil:
			if bad := c.fails(v.failure, v, o, "the validator "+v.name+" cannot be asked now"); bad != nil {
				q.Refusals = append(q.Refusals, bad.WithCause(err))
			}
		case answer.OK:
			c.Verdict = Passed
		default:
			if bad := c.fails(v.els, v, o, plainText(answer.Say)); bad != nil {
				if f := fieldNamed(&e.names.objects[o], answer.Path); f != nil {
					bad.Path = []string{f.System}
				}
				q.Refusals = append(q.Refusals, bad)
			}
		}
	}
}

func (e *Engine) answer(ctx context.Context, asker Asker, v *validator, w *Writing) (*Answer, error) {
	if asker == nil {
		return nil, connectors.Errorf(connectors.CodeInternal, "nobody asks validators over HTTP here")
	}
	ctx, cancel := context.WithTimeout(ctx, v.remote.Deadline)
	defer cancel()
	answer, err := asker.Ask(ctx, v.remote, e.question(v, w))
	if err == nil && answer == nil {
		err = connectors.Errorf(connectors.CodeInternal, "no answer")
	}
	return answer, err
}

// question is the JSON that is sent: the normalised input under the graph's
// names. Fields that hold secrets are not sent, but named.
func (e *Engine) question(v *validator, w *Writing) []byte {
	o := e.names.byName[w.Object]
	text := func(b []byte, name, value string) []byte {
		b = connectors.AppendJSONString(b, name)
		return connectors.AppendJSONString(append(b, ':'), value)
	}
	b := append(text([]byte{'{'}, "validator", v.name), ',')
	b = append(text(b, "object", w.Object), ',')
	b = append(text(b, "act", string(w.Step.Kind)), ',')
	b = append(text(b, "at", w.Now.UTC().Format(time.RFC3339Nano)), ',')
	fields := e.names.objects[o].Fields
	var withheld []string
	part := func(name string, get func(string) connectors.Value) {
		b = append(connectors.AppendJSONString(b, name), ':')
		b = appendFields(b, fields, get, "", &withheld)
		b = append(b, ',')
	}
	if w.Step.Kind == connectors.Call {
		part("input", w.Step.Args.Get)
	} else {
		part("input", func(s string) connectors.Value { return assignedTo(w.Step.Set, s, false) })
		part("increment", func(s string) connectors.Value { return assignedTo(w.Step.Set, s, true) })
		part("key", func(s string) connectors.Value { return assignedTo(w.Step.Key, s, false) })
	}
	b = append(b, `"withheld":[`...)
	for i, name := range withheld {
		if i > 0 {
			b = append(b, ',')
		}
		b = connectors.AppendJSONString(b, name)
	}
	b = append(b, `],"principal":`...)
	b = e.appendPrincipal(b, w.Principal, v.remote.Claims)
	return append(b, '}')
}

// appendFields writes the fields that are given as a JSON object.
func appendFields(b []byte, fields []ObjectField, get func(string) connectors.Value, at string, withheld *[]string) []byte {
	b = append(b, '{')
	first := true
	for i := range fields {
		f := &fields[i]
		v := get(f.System)
		if v.Kind == connectors.KindAbsent {
			continue
		}
		if f.Secret {
			if !slices.Contains(*withheld, at+f.Graph) {
				*withheld = append(*withheld, at+f.Graph)
			}
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(connectors.AppendJSONString(b, f.Graph), ':')
		b = appendField(b, f, v, at+f.Graph+".", withheld)
	}
	return append(b, '}')
}

func appendField(b []byte, f *ObjectField, v connectors.Value, at string, withheld *[]string) []byte {
	switch {
	case v.Kind == connectors.KindList:
		b = append(b, '[')
		for i := range v.Items {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendField(b, f, v.Items[i], at, withheld)
		}
		return append(b, ']')
	case v.Kind == connectors.KindObject && f.Nested != nil:
		return appendFields(b, f.Nested.Fields, v.Get, at, withheld)
	case f.Values != nil && f.Values[v.Text] != "" && !v.IsNull():
		return connectors.AppendJSONString(b, f.Values[v.Text])
	}
	return v.AppendJSON(b, f.Type.Leaf())
}

func (e *Engine) appendPrincipal(b []byte, p *Principal, claims []string) []byte {
	member := func(name, value string) {
		if value == "" {
			return
		}
		b = append(connectors.AppendJSONString(b, name), ':')
		b = append(connectors.AppendJSONString(b, value), ',')
	}
	b = append(b, '{')
	member("id", p.ID)
	member("name", p.Name)
	member("tenant", p.Tenant)
	member("owner", p.Owner)
	if p.For != nil {
		b = append(b, `"for":`...)
		b = append(e.appendPrincipal(b, p.For, claims), ',')
	}
	b = append(b, `"roles":[`...)
	for i, role := range e.Expand(p) {
		if i > 0 {
			b = append(b, ',')
		}
		b = connectors.AppendJSONString(b, role)
	}
	b = append(b, ']', ',')
	if len(claims) > 0 && p.For == nil {
		b = append(b, `"claims":{`...)
		first := true
		for _, name := range claims {
			v, ok := p.Claims[name]
			if !ok {
				continue
			}
			if !first {
				b = append(b, ',')
			}
			first = false
			b = append(connectors.AppendJSONString(b, name), ':')
			b = v.AppendJSON(b, "")
		}
		b = append(b, '}', ',')
	}
	b = append(b, `"kind":`...)
	return append(connectors.AppendJSONString(b, string(p.Kind)), '}')
}

// plainText is what somebody else's answer may say to people: one short line
// without control characters.
func plainText(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r) || r == utf8.RuneError:
			return -1
		}
		return r
	}, s)
	if r := []rune(s); len(r) > sayLength {
		s = string(r[:sayLength])
	}
	return strings.TrimSpace(s)
}
