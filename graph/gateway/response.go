package gateway

import (
	"net/http"
	"strconv"
	"sync"

	"github.com/countersign/countersign/connectors"
)

// A Response is the answer to one operation. Data is nil where the request was
// refused before anything ran; then the answer has no member data.
type Response struct {
	Data    []byte
	Errors  []Error
	TraceID string
	// Explain is extensions.explain where it was asked for and allowed.
	Explain []byte
	// Cost is extensions.cost where it was asked for.
	Cost *Cost
	// release gives the buffer of Data back.
	release func()
}

var responseBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// maxPooled is the size above which a buffer is left to the collector.
const maxPooled = 1 << 20

// write sends the answer. A request error is 4xx in GraphQL's own media type
// and 200 in plain JSON, as clients of either expect.
func (resp *Response) write(w http.ResponseWriter, media string) {
	resp.send(w, media, resp.status(media))
}

// send sends the answer with a status.
func (resp *Response) send(w http.ResponseWriter, media string, status int) {
	buf := responseBuffers.Get().(*[]byte)
	b := resp.appendJSON((*buf)[:0])
	h := w.Header()
	h["Content-Type"] = contentTypes[media]
	h["Content-Length"] = []string{strconv.Itoa(len(b))}
	if after := resp.retryAfter(); after != "" {
		h["Retry-After"] = []string{after}
	}
	w.WriteHeader(status)
	// An error here is a client that went away.
	w.Write(b)
	if resp.release != nil {
		resp.release()
	}
	if cap(b) <= maxPooled {
		*buf = b
		responseBuffers.Put(buf)
	}
}

var contentTypes = map[string][]string{
	mediaJSON:     {mediaJSON + "; charset=utf-8"},
	mediaResponse: {mediaResponse + "; charset=utf-8"},
}

func (resp *Response) appendJSON(b []byte) []byte {
	b = append(b, '{')
	if resp.Data != nil {
		b = append(b, `"data":`...)
		b = append(b, resp.Data...)
	}
	if len(resp.Errors) > 0 {
		if resp.Data != nil {
			b = append(b, ',')
		}
		b = append(b, `"errors":`...)
		b = appendErrors(b, resp.Errors, resp.TraceID)
	}
	if resp.Explain != nil || resp.Cost != nil {
		b = append(b, `,"extensions":`...)
		b = append(resp.appendExtensions(b), '}')
	}
	return append(b, '}')
}

func (resp *Response) appendExtensions(b []byte) []byte {
	sep := byte('{')
	if resp.Explain != nil {
		b = append(append(b, sep), `"explain":`...)
		b = append(b, resp.Explain...)
		sep = ','
	}
	if resp.Cost != nil {
		b = append(append(b, sep), `"cost":`...)
		b = resp.Cost.appendJSON(b)
	}
	return b
}

// status is the HTTP status. A credential that is not valid is 401 in either
// media type.
func (resp *Response) status(media string) int {
	if resp.Data != nil || len(resp.Errors) == 0 {
		return http.StatusOK
	}
	code := resp.Errors[0].Code
	if code == connectors.CodeUnauthenticated {
		return http.StatusUnauthorized
	}
	if media != mediaResponse {
		return http.StatusOK
	}
	switch code {
	case connectors.CodeForbidden, connectors.CodeCSRFRequired, connectors.CodeSuspended, connectors.CodeOperationNotAllowed:
		return http.StatusForbidden
	case connectors.CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case connectors.CodeRateLimited, connectors.CodeBudgetExhausted:
		return http.StatusTooManyRequests
	case connectors.CodeUnsupported:
		return http.StatusMethodNotAllowed
	case connectors.CodeInternal:
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}
