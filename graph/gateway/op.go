package gateway

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"unicode/utf8"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
)

// Trusted documents for who speaks no GraphQL: POST /op/NAME with the variables
// as a JSON object, GET for queries with the variables as parameters. The
// answer is GraphQL's, {data, errors}, with a status that tells what happened.

const opPrefix = "/op/"

// serveOp answers /op/NAME.
func (g *Gateway) serveOp(w http.ResponseWriter, r *http.Request) {
	if origin := r.Header.Get("Origin"); origin != "" && !g.cors(w, r, origin) {
		return
	}
	c, refused := g.asked(w, r)
	if refused != nil {
		g.answerOp(w, c, refused)
		return
	}
	req := &Request{ID: r.PathValue("name")}
	d := c.snap.Trusted.find(req.ID)
	var errs []Error
	switch {
	case d == nil:
		errs = refuse(connectors.CodePersistedNotFound, "there is no operation of that name")
	case r.Method == http.MethodPost:
		req.Variables, errs = opBody(w, r, c.state.limits.Body)
	case r.Method == http.MethodGet && d.Kind == ast.Query:
		readAll(w)
		req.Variables, errs = g.opParameters(c, d, r)
		c.readOnly = true
	default:
		allow := "POST"
		if d.Kind == ast.Query {
			allow = "GET, POST"
		}
		w.Header().Set("Allow", allow)
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if key := r.Header.Get("Idempotency-Key"); key != "" && errs == nil {
		if !utf8.ValidString(key) {
			errs = refuse(connectors.CodeBadInput, "Idempotency-Key is not UTF-8")
		}
		// It was made of a string, so it can be encoded.
		req.Extensions, _ = json.Marshal(map[string]any{"write": map[string]any{"idempotencyKey": key}})
	}
	if errs != nil {
		g.answerOp(w, c, errs)
		return
	}
	c.req = req
	resp := g.run(r.Context(), c)
	h := w.Header()
	h["Cache-Control"] = noStore
	resp.send(w, mediaJSON, resp.opStatus())
}

func (g *Gateway) answerOp(w http.ResponseWriter, c *call, errs []Error) {
	resp := &Response{Errors: errs, TraceID: c.traceID}
	w.Header()["Cache-Control"] = noStore
	resp.send(w, mediaJSON, resp.opStatus())
}

// opBody are the variables of a POST; no body at all has none.
func opBody(w http.ResponseWriter, r *http.Request, limit int64) (map[string]any, []Error) {
	if errs := plainJSON(r); errs != nil && (r.ContentLength != 0 || r.Header.Get("Content-Type") != "") {
		return nil, errs
	}
	body, err := readBody(r.Body, make([]byte, 0, 512), limit)
	switch {
	case int64(len(body)) > limit:
		return nil, refuse(connectors.CodeTooLarge, "the request is larger than %d bytes", limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, refuse(connectors.CodeTimeout, "the request's body did not come in time")
	case err != nil:
		return nil, decodeError(err)
	}
	readAll(w)
	if len(body) == 0 {
		return nil, nil
	}
	if errs := whole("the request", body); errs != nil {
		return nil, errs
	}
	s := scan{b: body}
	if vars, ok := s.object(0); ok && s.end() {
		return vars, nil
	}
	// The library knows escapes that scan does not, and says what is wrong.
	req, errs := decodePost(append(append([]byte(`{"id":"-","variables":`), body...), '}'))
	if errs != nil {
		return nil, refuse(connectors.CodeBadInput, "the body must be one JSON object: the operation's variables")
	}
	return req.Variables, nil
}

// opParameters are the variables of a GET, by their declared types.
func (g *Gateway) opParameters(c *call, d *TrustedDocument, r *http.Request) (map[string]any, []Error) {
	if int64(len(r.URL.RawQuery)) > c.state.limits.Body {
		return nil, refuse(connectors.CodeTooLarge, "the request is larger than %d bytes", c.state.limits.Body)
	}
	given, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(connectors.CodeBadInput, "the query string cannot be read")
	}
	types := map[string]*ast.Type{}
	if doc, errs := c.state.document(d.Text, c.snap.Catalog); errs == nil && doc.only != nil {
		for _, v := range doc.only.def.VariableDefinitions {
			types[v.Variable] = v.Type
		}
	}
	vars := map[string]any{}
	for name, values := range given {
		for _, v := range values {
			if !utf8.ValidString(v) || !utf8.ValidString(name) {
				return nil, refuse(connectors.CodeBadInput, "the query string is not UTF-8")
			}
		}
		t := types[name]
		switch {
		case t == nil:
			vars[name] = values[0] // what is wrong with it is told like for a POST
		case t.Elem != nil:
			list := make([]any, len(values))
			for i, v := range values {
				list[i] = parameter(v, t.Elem)
			}
			vars[name] = list
		case len(values) > 1:
			return nil, refuse(connectors.CodeBadInput, "the parameter %s is given twice", name)
		default:
			vars[name] = parameter(values[0], t)
		}
	}
	return vars, nil
}

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)

// parameter is a text as a variable of the type. What does not fit stays text
// and is refused with the other values that are wrong.
func parameter(text string, t *ast.Type) any {
	switch t.NamedType {
	case "Int", "Float", "SafeInt":
		if jsonNumber.MatchString(text) {
			return json.Number(text)
		}
	case "Boolean":
		if text == "true" || text == "false" {
			return text == "true"
		}
	}
	return text
}

// opStatus is the status of an answer to who looks at statuses: that of the
// first error where nothing was answered, 200 where something was.
func (resp *Response) opStatus() int {
	if len(resp.Errors) == 0 {
		return http.StatusOK
	}
	var roots map[string]json.RawMessage
	if json.Unmarshal(resp.Data, &roots) == nil {
		for _, v := range roots {
			if string(v) != "null" {
				return http.StatusOK
			}
		}
	}
	switch code := resp.Errors[0].Code; code {
	case connectors.CodeUnauthenticated, connectors.CodeSignInRequired:
		return http.StatusUnauthorized
	case connectors.CodeNotFound, connectors.CodePersistedNotFound:
		return http.StatusNotFound
	case connectors.CodeUpstreamError:
		return http.StatusBadGateway
	case connectors.CodeUpstreamUnavailable, connectors.CodeCircuitOpen, connectors.CodeUpstreamRateLimited:
		return http.StatusServiceUnavailable
	case connectors.CodeTimeout, connectors.CodeLockTimeout:
		return http.StatusGatewayTimeout
	}
	// Whatever else there is has one status everywhere.
	plain := Response{Errors: resp.Errors}
	return plain.status(mediaResponse)
}
