package openapi

import (
	"context"
	"encoding/json"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/httpcall"
)

// An ask is one request of a query: what is sent and, where somebody wants to
// know what was, its address as it is shown.
type ask struct {
	*httpcall.Request
	shown string // absolute, as URL; "" without a trace
}

// ask makes the one request of an operation with these arguments. Those named
// open are no values of anybody, and always shown: bounds of a page.
func (r *run) ask(o *operation, args connectors.Value, open ...string) (ask, error) {
	req, err := r.request(o, args)
	if err != nil || r.trace == nil {
		return ask{Request: req}, err
	}
	shown, err := r.requestShown(o, args, func(p *param, v connectors.Value) bool {
		return slices.Contains(open, p.field.Name) || r.trace.Shows(v)
	})
	if err != nil {
		return ask{}, err
	}
	return ask{Request: req, shown: shown.URL}, nil
}

// traced is call for somebody who wants to know what was sent. Headers and
// credentials are no part of it.
func (r *run) traced(ctx context.Context, req ask) (*httpcall.Response, error) {
	var attempts atomic.Int64
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { attempts.Add(1) }})
	sent := connectors.Sent{Source: r.cfg.Name, Object: r.q.Select.Collection + r.q.Select.Function, Keys: len(r.q.Bind),
		Method: req.Method, Target: r.client.Redact(strings.TrimPrefix(req.shown, r.client.URL("", ""))), Began: time.Now()}
	resp, err := r.client.Do(ctx, httpcall.Read, req.Request)
	sent.Took, sent.Attempts = time.Since(sent.Began), int(attempts.Load())
	if err != nil {
		e := connectors.AsError(err)
		var said struct{ Status int }
		if json.Unmarshal(e.Upstream, &said) == nil {
			sent.Status = said.Status
		}
		sent.Failed = e.Code
	} else {
		sent.Status = resp.Status
	}
	r.trace.Add(sent)
	return resp, err
}

// withhold takes the values out of encoded pairs of a query.
func withhold(pairs []string) {
	for i, p := range pairs {
		name, _, _ := strings.Cut(p, "=")
		pairs[i] = name + "=" + connectors.Withheld
	}
}

// shownLink is a link that the system gave, as it is shown: of what is not as in
// the request before, names only.
func shownLink(before, shown, link string) string {
	path, query, asked := strings.Cut(before, "?")
	shownPath, shownQuery, _ := strings.Cut(shown, "?")
	known := map[string]string{}
	if pairs, as := strings.Split(query, "&"), strings.Split(shownQuery, "&"); asked && len(pairs) == len(as) {
		for i, p := range pairs {
			known[decoded(p)] = as[i]
		}
	}
	to, query, asked := strings.Cut(link, "?")
	out := shownPath
	if to != path {
		out = shownPath[:strings.LastIndexByte(shownPath, '/')+1] + connectors.Withheld
	}
	if !asked {
		return out
	}
	pairs := strings.Split(query, "&")
	for i, p := range pairs {
		as, ok := known[decoded(p)]
		if !ok {
			withhold(pairs[i : i+1])
			continue
		}
		pairs[i] = as
	}
	return out + "?" + strings.Join(pairs, "&")
}

// decoded is an encoded pair in the one form that pairs are compared in.
func decoded(pair string) string {
	if text, err := url.QueryUnescape(pair); err == nil {
		return text
	}
	return pair
}
