package openapi

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/httpcall"
)

// request makes the one request of an operation with these arguments: the same
// bytes for a preview and when it is sent. Members that are no arguments are
// refused, so are missing ones that are needed.
func (s *Source) request(o *operation, args connectors.Value) (*httpcall.Request, error) {
	return s.requestShown(o, args, nil)
}

// requestShown is request with connectors.Withheld in its address for the
// values that shows, where not nil, does not know: for people, not to be sent.
func (s *Source) requestShown(o *operation, args connectors.Value, shows func(*param, connectors.Value) bool) (*httpcall.Request, error) {
	e := &encoder{objects: s.model.objects, enums: s.model.enums}
	for _, m := range args.Members {
		if o.param(m.Name) == nil {
			return nil, badInput("%s has no argument %q", o.id, m.Name).At(m.Name)
		}
	}
	r := &httpcall.Request{Method: o.method}
	path, pairs := o.path, []string(nil)
	b := &bodyBuilder{encoder: e, form: isForm(o.media), none: o.media == "" || o.method == http.MethodDelete}
	for _, p := range o.params {
		v := args.Get(p.field.Name)
		if v.Kind == connectors.KindAbsent || v.Kind == connectors.KindNull && p.in != inBody && p.in != inWhole {
			if !p.field.Nullable && !p.field.Default {
				return nil, connectors.Errorf(connectors.CodeValidationFailed, "%s must be given", p.field.Name).At(p.field.Name)
			}
			b.none = b.none || p.in == inWhole
			continue
		}
		var err error
		switch p.in {
		case inPath:
			var text string
			if text, err = e.segment(v, p); err == nil {
				if shows != nil && !shows(p, v) {
					text = connectors.Withheld
				}
				path = strings.ReplaceAll(path, "{"+p.wire+"}", text)
			}
		case inQuery:
			from := len(pairs)
			if pairs, err = e.query(pairs, p, v); shows != nil && !shows(p, v) {
				withhold(pairs[from:])
			}
		case inHeader:
			var text string
			if text, err = e.header(v, p.field.Type); err == nil {
				r.Header = append(r.Header, httpcall.Pair{Name: p.wire, Value: text})
			}
		default:
			err = b.add(p, v)
		}
		var bad misfit
		if errors.As(err, &bad) {
			return nil, connectors.Errorf(connectors.CodeValidationFailed, "%s %s", p.field.Name, string(bad)).At(p.field.Name)
		}
		if err != nil {
			return nil, err
		}
	}
	if o.answer == answerJSON {
		r.Header = append(r.Header, httpcall.Pair{Name: "Accept", Value: "application/json"})
	}
	if !b.none {
		r.Body = b.bytes()
		r.Header = append(r.Header, httpcall.Pair{Name: "Content-Type", Value: contentType(o.media)})
	}
	r.URL = s.client.URL(path, strings.Join(pairs, "&"))
	return r, nil
}

// contentType is a media type to send: a range in the document means JSON.
func contentType(media string) string {
	if strings.Contains(media, "*") {
		return "application/json"
	}
	return media
}

// A bodyBuilder collects the members of a body.
type bodyBuilder struct {
	*encoder
	form  bool
	pairs []string
	raw   []byte
	whole bool
	none  bool // nothing is to be sent
}

func (b *bodyBuilder) add(p *param, v connectors.Value) (err error) {
	b.none = false
	switch {
	case p.in == inWhole:
		b.whole = true
		b.raw, err = b.json(nil, v, p.field.Type, 0)
	case b.form:
		b.pairs, err = b.encoder.form(b.pairs, p.wire, v, p.field.Type, 0)
	default:
		if len(b.raw) > 0 {
			b.raw = append(b.raw, ',')
		}
		b.raw = connectors.AppendJSONString(b.raw, p.wire)
		b.raw = append(b.raw, ':')
		var raw []byte
		if raw, err = b.json(b.raw, v, p.field.Type, 0); err == nil {
			b.raw = raw
		}
	}
	return err
}

func (b *bodyBuilder) bytes() []byte {
	switch {
	case b.whole:
		return b.raw
	case b.form:
		return []byte(strings.Join(b.pairs, "&"))
	}
	return slices.Concat([]byte("{"), b.raw, []byte("}"))
}

// segment is a value as a part of a path. Nothing, "." and ".." would lead to
// another path than the one that was meant.
func (e *encoder) segment(v connectors.Value, p *param) (string, error) {
	var texts []string
	var err error
	if p.field.Type.List {
		texts, err = e.texts(v, p.field.Type)
	} else {
		texts = make([]string, 1)
		texts[0], err = e.text(v, p.field.Type)
	}
	if err != nil {
		return "", err
	}
	for i := range texts {
		if texts[i] == "" || texts[i] == "." || texts[i] == ".." {
			return "", misfit("cannot stand in a path")
		}
		texts[i] = url.PathEscape(texts[i])
	}
	if len(texts) == 0 {
		return "", misfit("cannot stand in a path")
	}
	return strings.Join(texts, ","), nil
}

func (e *encoder) header(v connectors.Value, t connectors.TypeRef) (string, error) {
	texts := make([]string, 1)
	var err error
	if t.List {
		texts, err = e.texts(v, t)
	} else if t.Leaf() == connectors.ScalarJSON {
		var raw []byte
		raw, err = e.json(nil, v, t, 0)
		texts[0] = string(raw)
	} else {
		texts[0], err = e.text(v, t)
	}
	if err != nil {
		return "", err
	}
	text := strings.Join(texts, ",")
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) || strings.TrimSpace(text) != text {
		return "", misfit("cannot stand in a header")
	}
	return text, nil
}
