package openapi

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/httpcall"
)

// list reads pages of the list until keep has enough. want is how many records
// are enough if all that come match; < 0: not known.
func (r *run) list(ctx context.Context, args []connectors.Member, want int, keep func(*row) (bool, error)) error {
	c := r.t.collection
	p := &pager{run: r, args: args, size: c.pageMax}
	if want >= 0 {
		p.size = min(max(want, 1), c.pageMax)
	}
	if c.cfg.Page.First != nil {
		p.at = *c.cfg.Page.First
	} else if c.cfg.Page.Style == PageNumber {
		p.at = 1
	}
	req, err := p.first()
	if err != nil {
		return err
	}
	for req.Request != nil {
		resp, err := r.answer(ctx, req)
		if err != nil {
			return err
		}
		items, ok := rows(dig(resp.Body, c.listPath))
		if !ok {
			return connectors.Errorf(connectors.CodeUpstreamError, "the source's answer has no list where one was expected")
		}
		for _, item := range items {
			more, err := keep(&row{members: item})
			if err != nil || !more {
				return err
			}
		}
		if req, err = p.next(req, resp, len(items)); err != nil {
			return err
		}
	}
	return nil
}

// A pager drives the pages of a list.
type pager struct {
	*run
	args []connectors.Member
	size int
	at   int // page or offset
}

// first is the request of the first page; later pages by number follow it.
func (p *pager) first() (ask, error) { return p.page(connectors.Value{}) }

func (p *pager) page(token connectors.Value) (ask, error) {
	c := p.t.collection
	args, open := slices.Clone(p.args), []string(nil)
	if c.sizeParam != nil {
		open = append(open, c.sizeParam.field.Name)
		args = append(args, connectors.Member{Name: c.sizeParam.field.Name, Value: numberFor(c.sizeParam, p.size)})
	}
	if c.pageParam != nil {
		switch {
		case c.cfg.Page.Style == PageNumber || c.cfg.Page.Style == PageOffset:
			open = append(open, c.pageParam.field.Name)
			args = append(args, connectors.Member{Name: c.pageParam.field.Name, Value: numberFor(c.pageParam, p.at)})
		case !token.IsNull():
			args = append(args, connectors.Member{Name: c.pageParam.field.Name, Value: token})
		}
	}
	return p.ask(c.list, connectors.ObjectOf(args...), open...)
}

// numberFor is a number as a parameter's type wants it.
func numberFor(p *param, n int) connectors.Value {
	if leaf := p.field.Type.Leaf(); leaf == connectors.ScalarString {
		return connectors.String(strconv.Itoa(n))
	}
	return connectors.Int(int64(n))
}

// next is the request of the page after this one; none at the end.
func (p *pager) next(req ask, resp *httpcall.Response, items int) (ask, error) {
	c := p.t.collection
	full := items > 0 && (c.sizeParam == nil || items >= p.size)
	switch c.cfg.Page.Style {
	case PageNumber:
		p.at++
	case PageOffset:
		p.at += items
	case PageLink:
		return p.follow(req, linkNext(resp.Header))
	case PageCursor:
		return p.cursor(req, dig(resp.Body, split(c.cfg.Page.Next)))
	default:
		return ask{}, nil
	}
	if !full {
		return ask{}, nil
	}
	return p.first()
}

// cursor goes on by a link or a token; anything else is the end.
func (p *pager) cursor(req ask, raw json.RawMessage) (ask, error) {
	var text string
	if len(raw) > 0 && raw[0] != '"' && isNumber(string(raw)) {
		text = string(raw)
	} else if json.Unmarshal(raw, &text) != nil {
		text = ""
	}
	c := p.t.collection
	switch {
	case text == "":
		return ask{}, nil
	case c.pageParam == nil || strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://"):
		return p.follow(req, text)
	}
	token := connectors.String(text)
	if c.pageParam.field.Type.Leaf() != connectors.ScalarString {
		token = connectors.Value{Kind: connectors.KindInt, Text: text}
	}
	return p.changed(req)(p.page(token))
}

func (p *pager) follow(req ask, link string) (ask, error) {
	if link == "" {
		return ask{}, nil
	}
	url, err := p.client.Follow(req.URL, link)
	if err != nil {
		return ask{}, err
	}
	next := ask{Request: &httpcall.Request{Method: req.Method, URL: url, Header: req.Header}}
	if p.trace != nil {
		next.shown = shownLink(req.URL, req.shown, url)
	}
	return p.changed(req)(next, nil)
}

// changed refuses a next page that is this page.
func (p *pager) changed(req ask) func(ask, error) (ask, error) {
	return func(next ask, err error) (ask, error) {
		if err == nil && next.URL == req.URL {
			return ask{}, connectors.Errorf(connectors.CodeUpstreamError, "the source names a page as the one after itself")
		}
		return next, err
	}
}

// linkNext is the address with rel="next" of the Link headers (RFC 8288).
func linkNext(h http.Header) string {
	for _, line := range h.Values("Link") {
		for line != "" {
			_, rest, ok := strings.Cut(line, "<")
			address, rest, closed := strings.Cut(rest, ">")
			if !ok || !closed {
				break
			}
			end := endOfLink(rest)
			if isNext(rest[:end]) {
				return address
			}
			line = rest[end:]
		}
	}
	return ""
}

// endOfLink is where the parameters of a link end: at a comma outside quotes.
func endOfLink(s string) int {
	quoted := false
	for i := range len(s) {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == ',' && !quoted:
			return i
		}
	}
	return len(s)
}

func isNext(params string) bool {
	for _, part := range strings.Split(params, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		if strings.EqualFold(strings.TrimSpace(name), "rel") {
			return slices.Contains(strings.Fields(strings.ToLower(strings.Trim(strings.TrimSpace(value), `"`))), "next")
		}
	}
	return false
}

// byKeys reads records by their keys: in batches where the system has them,
// else one by one, some at once. A record that is not there is nil.
func (r *run) byKeys(ctx context.Context, keys [][]connectors.Value) ([]*row, error) {
	found := make([]*row, len(keys))
	if r.t.batch == nil || len(keys) == 1 && r.t.get != nil {
		err := r.parallel(ctx, len(keys), func(ctx context.Context, i int) (err error) {
			found[i], err = r.one(ctx, keys[i])
			return err
		})
		return found, err
	}
	key := r.t.spec.Field(r.t.spec.Key[0])
	at := make(map[string]int, len(keys))
	for i, k := range keys {
		at[meaning(key.Type, k[0])] = i
	}
	chunks := slices.Collect(slices.Chunk(keys, r.t.batchMax))
	answers := make([][]record, len(chunks))
	err := r.parallel(ctx, len(chunks), func(ctx context.Context, i int) (err error) {
		answers[i], err = r.batched(ctx, chunks[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, list := range answers {
		for _, members := range list {
			x := &row{members: members}
			if v, ok := canon(r.t.value(x, key), key.Type); ok {
				if i, ok := at[meaning(key.Type, v)]; ok {
					found[i] = x
				}
			}
		}
	}
	return found, nil
}

func (r *run) batched(ctx context.Context, keys [][]connectors.Value) ([]record, error) {
	values := make([]connectors.Value, len(keys))
	for i, k := range keys {
		values[i] = k[0]
	}
	req, err := r.ask(r.t.batch, connectors.ObjectOf(connectors.Member{Name: r.t.batchParam.field.Name, Value: connectors.ListOf(values...)}))
	if err != nil {
		return nil, err
	}
	resp, err := r.answer(ctx, req)
	if connectors.CodeOf(err) == connectors.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, ok := rows(dig(resp.Body, r.t.batchPath))
	if !ok {
		return nil, connectors.Errorf(connectors.CodeUpstreamError, "the source's answer has no list where one was expected")
	}
	return list, nil
}

// one reads a record by its key; nil where there is none.
func (r *run) one(ctx context.Context, key []connectors.Value) (*row, error) {
	var args []connectors.Member
	for i, name := range r.t.spec.Key {
		args = append(args, connectors.Member{Name: r.t.getKey[name].field.Name, Value: key[i]})
	}
	req, err := r.ask(r.t.get, connectors.ObjectOf(args...))
	if connectors.CodeOf(err) == connectors.CodeValidationFailed {
		return nil, nil // a key that cannot be said is nobody's
	}
	if err != nil {
		return nil, err
	}
	resp, err := r.answer(ctx, req)
	if connectors.CodeOf(err) == connectors.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	members := recordOf(dig(resp.Body, r.t.getPath))
	if members == nil {
		return nil, connectors.Errorf(connectors.CodeUpstreamError, "the source's answer has no record where one was expected")
	}
	return &row{members: members, version: resp.Header.Get("ETag")}, nil
}

// versions reads again, by key, the records whose version is not known: only an
// answer about one record tells it. This costs one call for each record of the
// page, at most Limits.Concurrency at once and out of the budget of the query; it
// is done only where a column asks for the version. Records that were looked up
// one by one have it already. A record that has left the answer since is left out.
func (r *run) versions(ctx context.Context, groups [][]*row) error {
	type place struct{ group, row int }
	var missing []place
	for g := range groups {
		for i := range groups[g] {
			if groups[g][i].version == "" {
				missing = append(missing, place{g, i})
			}
		}
	}
	err := r.parallel(ctx, len(missing), func(ctx context.Context, n int) error {
		at := &groups[missing[n].group][missing[n].row]
		x, err := r.one(ctx, r.keyOf(*at))
		if err == nil && x != nil && (r.where(x) != isTrue || !r.belongs(x, missing[n].group)) {
			x = nil
		}
		*at = x
		return err
	})
	for g := range groups {
		groups[g] = slices.DeleteFunc(groups[g], func(x *row) bool { return x == nil })
	}
	return err
}

// belongs tells whether a record still has the values of its entry.
func (r *run) belongs(x *row, entry int) bool {
	for i, name := range r.q.Select.Bind {
		f := r.t.spec.Field(name)
		have, ok := canon(r.t.value(x, f), f.Type)
		want, fits := canon(r.q.Bind[entry][i], f.Type)
		if !ok || !fits || meaning(f.Type, have) != meaning(f.Type, want) {
			return false
		}
	}
	return true
}

func (r *run) keyOf(x *row) []connectors.Value {
	key := make([]connectors.Value, len(r.t.spec.Key))
	for i, name := range r.t.spec.Key {
		key[i] = r.t.value(x, r.t.spec.Field(name))
	}
	return key
}

// bind reads the records that belong to each entry.
func (r *run) bind(ctx context.Context, page pageOf) ([][]*row, error) {
	fields := make([]*connectors.Field, len(r.q.Select.Bind))
	for i, name := range r.q.Select.Bind {
		fields[i] = r.t.spec.Field(name)
	}
	// Entries that mean the same are read once.
	groups := make([][]*row, len(r.q.Bind))
	entries := map[string][]int{}
	var keys [][]connectors.Value
	var names []string
	for i, entry := range r.q.Bind {
		if len(entry) != len(fields) {
			return nil, badInput("an entry to join has %d values for %d fields", len(entry), len(fields))
		}
		key, name, ok := make([]connectors.Value, len(fields)), "", true
		for j, f := range fields {
			if entry[j].IsNull() {
				ok = false
				break
			}
			v, fits := canon(entry[j], f.Type)
			if !fits {
				return nil, badInput("a value to join over %s is no %s", f.Name, f.Type.Leaf())
			}
			key[j] = v
			text := meaning(f.Type, v)
			name += strconv.Itoa(len(text)) + ":" + text
		}
		if !ok {
			continue
		}
		if entries[name] == nil {
			keys, names = append(keys, key), append(names, name)
		}
		entries[name] = append(entries[name], i)
	}
	found, err := r.related(ctx, fields, keys, page)
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		for _, n := range entries[name] {
			groups[n] = slices.Clone(page.cut(found[i]))
		}
	}
	return groups, nil
}

// related reads, per key, the records whose fields have these values.
func (r *run) related(ctx context.Context, fields []*connectors.Field, keys [][]connectors.Value, page pageOf) ([][]*row, error) {
	found := make([][]*row, len(keys))
	if page.limit == 0 {
		return found, nil
	}
	if slices.Equal(r.q.Select.Bind, r.t.spec.Key) && (r.t.get != nil || r.t.batch != nil) {
		records, err := r.byKeys(ctx, keys)
		for i, x := range records {
			if x != nil && r.where(x) == isTrue {
				found[i] = []*row{x}
			}
		}
		return found, err
	}
	field, p := fields[0], r.t.filter[fields[0].Name][connectors.OpEq]
	chunk := 1
	if p.field.Type.List {
		chunk = 50
		if p.list > 0 {
			chunk = min(p.list, 200)
		}
	}
	var chunks [][]int
	for i := range keys {
		if _, ok := r.fit(p, keys[i]); !ok {
			continue // cannot be asked for: nothing is known to belong to it
		}
		if n := len(chunks); n > 0 && len(chunks[n-1]) < chunk {
			chunks[n-1] = append(chunks[n-1], i)
		} else {
			chunks = append(chunks, []int{i})
		}
	}
	err := r.parallel(ctx, len(chunks), func(ctx context.Context, n int) error {
		return r.listed(ctx, field, p, keys, chunks[n], found, page)
	})
	return found, err
}

// listed reads the records of some keys by one list, until each has enough.
func (r *run) listed(ctx context.Context, field *connectors.Field, p *param, keys [][]connectors.Value, chunk []int, found [][]*row, page pageOf) error {
	at := make(map[string]int, len(chunk))
	var values []connectors.Value
	for _, i := range chunk {
		at[meaning(field.Type, keys[i][0])] = i
		values = append(values, keys[i][0])
	}
	v, _ := r.fit(p, values)
	args, exact := r.t.pushed(r.encoder, r.q.Select.Where, p)
	args = append(args, connectors.Member{Name: p.field.Name, Value: v})
	want := -1
	if exact && len(chunk) == 1 {
		want = page.need()
	}
	open, seen := len(chunk), 0
	return r.list(ctx, args, want, func(x *row) (bool, error) {
		value, ok := canon(r.t.value(x, field), field.Type)
		i, ours := at[meaning(field.Type, value)]
		if !ok || !ours || r.where(x) != isTrue || page.need() >= 0 && len(found[i]) >= page.need() {
			return true, nil
		}
		found[i] = append(found[i], x)
		if len(found[i]) == page.need() {
			open--
		}
		if len(found[i]) > page.offset {
			seen++
		}
		if r.q.Select.MaxRows > 0 && page.limit < 0 && seen > r.q.Select.MaxRows {
			return false, connectors.Errorf(connectors.CodeRowCapExceeded, "more than %d records match", r.q.Select.MaxRows)
		}
		return open > 0, nil
	})
}
