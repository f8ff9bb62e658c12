package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/countersign/countersign/connectors"
)

// isList tells whether a body is a list of requests.
func isList(body []byte) bool {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	return len(trimmed) > 0 && trimmed[0] == '['
}

// decodeBatch decodes a list of at most most requests. All strings are copies.
func decodeBatch(body []byte, most int) ([]*Request, []Error) {
	if most < 2 {
		return nil, refuse(connectors.CodeBadInput, "the body must be one JSON object: lists of operations are off for this caller")
	}
	if errs := whole("the request", body); errs != nil {
		return nil, errs
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, decodeError(err)
	}
	switch {
	case len(raw) == 0:
		return nil, refuse(connectors.CodeBadInput, "the list of operations is empty")
	case len(raw) > most:
		return nil, refuse(connectors.CodeTooLarge, "a request holds at most %d operations", most)
	}
	out := make([]*Request, len(raw))
	for i, one := range raw {
		req, errs := decodeRequest(one)
		if errs != nil {
			errs[0].Message = "operation " + strconv.Itoa(i) + ": " + errs[0].Message
			return nil, errs
		}
		out[i] = req
	}
	return out, nil
}

// serveBatch answers several operations in their order: each after the one
// before, within the time and the bytes of one.
func (g *Gateway) serveBatch(w http.ResponseWriter, r *http.Request, first *call, list []*Request) {
	ctx, cancel := context.WithTimeout(r.Context(), first.state.limits.Timeout)
	defer cancel()
	out := []byte{'['}
	for i, req := range list {
		if i > 0 {
			out = append(out, ',')
		}
		c := *first
		c.req = req
		resp := c.refused(refuse(connectors.CodeTooLarge, "the answers before are as large as all may be: this operation was not run"))
		if int64(len(out)) <= first.state.limits.Response {
			resp = g.run(ctx, &c)
		}
		out = resp.appendJSON(out)
		if resp.release != nil {
			resp.release()
		}
	}
	h := w.Header()
	h["Cache-Control"] = noStore
	h["Content-Type"] = contentTypes[mediaJSON]
	h["Content-Length"] = []string{strconv.Itoa(len(out) + 1)}
	// An error here is a client that went away.
	w.Write(append(out, ']'))
}
