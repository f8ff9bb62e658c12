package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/countersign/countersign/connectors"
)

// A Request is one GraphQL request, decoded once.
type Request struct {
	Query         string          `json:"query"`
	OperationName string          `json:"operationName"`
	Variables     map[string]any  `json:"variables"`
	Extensions    json.RawMessage `json:"extensions"`
	// ID names a trusted document instead of Query: its operation's name or its
	// hash. DocumentID is another spelling of it.
	ID         string `json:"id"`
	DocumentID string `json:"documentId"`
}

const (
	mediaJSON     = "application/json"
	mediaResponse = "application/graphql-response+json"
	mediaEvents   = "text/event-stream"
	mediaMixed    = "multipart/mixed"
)

// csrfHeader must be present where a browser would send a credential by
// itself; its value does not matter, its presence makes the request preflighted.
const csrfHeader = "Countersign-Csrf"

// readPost decodes a POST. The body is bounded while it is read, in size here
// and in time by the server, whose deadline ends with the body.
//
// A list of requests comes as batch, where the limits allow one.
func readPost(w http.ResponseWriter, r *http.Request, lim *Limits) (req *Request, batch []*Request, errs []Error) {
	limit := lim.Body
	if errs := plainJSON(r); errs != nil {
		return nil, nil, errs
	}
	held := responseBuffers.Get().(*[]byte)
	body, err := readBody(r.Body, (*held)[:0], limit)
	defer func() {
		if cap(body) <= maxPooled {
			*held = body
			responseBuffers.Put(held)
		}
	}()
	if int64(len(body)) > limit {
		return nil, nil, refuse(connectors.CodeTooLarge, "the request is larger than %d bytes", limit)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, nil, refuse(connectors.CodeTimeout, "the request's body did not come in time")
	}
	if err != nil {
		return nil, nil, decodeError(err)
	}
	readAll(w)
	if isList(body) {
		batch, errs = decodeBatch(body, lim.Batch)
		return nil, batch, errs
	}
	req, errs = decodeRequest(body)
	return req, nil, errs
}

// plainJSON refuses a body that is no JSON, or is packed: what unpacks to more
// than it is would pass the limit.
func plainJSON(r *http.Request) []Error {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return refuse(connectors.CodeBadInput, "the request's body must not be encoded")
	}
	// The common spelling first: parsing a media type costs more than the rest.
	if kind := r.Header.Get("Content-Type"); kind != mediaJSON {
		if media, _, err := mime.ParseMediaType(kind); err != nil || media != mediaJSON {
			return refuse(connectors.CodeBadInput, "the request's Content-Type must be application/json")
		}
	}
	return nil
}

// decodeRequest decodes one request. All strings are copies.
func decodeRequest(body []byte) (*Request, []Error) {
	if !utf8.Valid(body) {
		return nil, whole("the request", body)
	}
	req := new(Request)
	if scanRequest(body, req) {
		return checked(req)
	}
	return decodePost(body)
}

// readAll lifts the deadline of reading from a request that was read: what is
// still read of its connection is whether the client is there.
func readAll(w http.ResponseWriter) {
	// An error here is a connection without deadlines.
	http.NewResponseController(w).SetReadDeadline(time.Time{})
}

// readBody appends what r holds, and at most one byte more than the limit.
func readBody(r io.Reader, b []byte, limit int64) ([]byte, error) {
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):min(int64(cap(b)), limit+1)])
		b = b[:len(b)+n]
		if err == io.EOF || int64(len(b)) > limit {
			return b, nil
		}
		if err != nil {
			return b, err
		}
	}
}

// decodePost decodes a body of any form, and says what is wrong with one that
// is no request. All strings are copies.
func decodePost(body []byte) (*Request, []Error) {
	if errs := whole("the request", body); errs != nil {
		return nil, errs
	}
	var req Request
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&req); err != nil {
		return nil, decodeError(err)
	}
	if len(bytes.TrimSpace(body[dec.InputOffset():])) > 0 {
		return nil, refuse(connectors.CodeBadInput, "the body must be one JSON object")
	}
	return checked(&req)
}

func checked(req *Request) (*Request, []Error) {
	if req.ID == "" {
		req.ID = req.DocumentID
	}
	if req.Query == "" && req.ID == "" && len(req.Extensions) == 0 {
		return nil, refuse(connectors.CodeBadInput, "the request has no query")
	}
	return req, nil
}

// decodeError says what is wrong without repeating the body.
func decodeError(err error) []Error {
	var typ *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &typ) && typ.Field == "":
		return refuse(connectors.CodeBadInput, "the body must be one JSON object")
	case errors.As(err, &typ):
		return refuse(connectors.CodeBadInput, "%s has the wrong type", typ.Field)
	case errors.As(err, &syntax):
		return refuse(connectors.CodeBadInput, "the body is no JSON (at byte %d)", syntax.Offset)
	}
	return refuse(connectors.CodeBadInput, "the body is no JSON")
}

// readGet decodes a GET. Variables and extensions are JSON in parameters.
func readGet(r *http.Request, limit int64) (*Request, []Error) {
	if int64(len(r.URL.RawQuery)) > limit {
		return nil, refuse(connectors.CodeTooLarge, "the request is larger than %d bytes", limit)
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, refuse(connectors.CodeBadInput, "the query string cannot be read")
	}
	for _, name := range [...]string{"query", "operationName", "id", "documentId"} {
		if !utf8.ValidString(q.Get(name)) {
			return nil, refuse(connectors.CodeBadInput, "%s is not UTF-8", name)
		}
	}
	req := &Request{Query: q.Get("query"), OperationName: q.Get("operationName"), ID: q.Get("id"), DocumentID: q.Get("documentId")}
	for _, name := range [...]string{"variables", "extensions"} {
		if errs := whole(name, []byte(q.Get(name))); errs != nil {
			return nil, errs
		}
	}
	if text := q.Get("variables"); text != "" {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		if err := dec.Decode(&req.Variables); err != nil {
			return nil, refuse(connectors.CodeBadInput, "variables is no JSON object")
		}
	}
	if text := q.Get("extensions"); text != "" {
		if !json.Valid([]byte(text)) {
			return nil, refuse(connectors.CodeBadInput, "extensions is no JSON")
		}
		req.Extensions = json.RawMessage(text)
	}
	return checked(req)
}

// accepts picks the media type of the answer by what the client prefers:
// GraphQL's own where it is named, else JSON.
func accepts(r *http.Request) string {
	accept := r.Header.Get("Accept")
	if strings.Contains(accept, mediaResponse) {
		return mediaResponse
	}
	return mediaJSON
}

// rawJSON is JSON that encoding/json writes as it is.
type rawJSON []byte

// MarshalJSON is the value itself.
func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

// appendAny appends v as encoding/json writes it; it is for small, rare parts.
func appendAny(b []byte, v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		return append(b, "null"...)
	}
	return append(b, raw...)
}
