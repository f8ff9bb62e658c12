package desk

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const maxBody = 1 << 20

// A problem is an error body by RFC 9457.
type problem struct {
	Type   string         `json:"type,omitempty"`
	Title  string         `json:"title"`
	Status int            `json:"status"`
	Detail string         `json:"detail,omitempty"`
	Errors []fieldProblem `json:"errors,omitempty"`
}

type fieldProblem struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

func refuse(status int, detail string) *problem {
	return &problem{Status: status, Title: http.StatusText(status), Detail: detail}
}

func invalid(field, message string) *problem {
	return &problem{Status: http.StatusUnprocessableEntity, Title: "Validation failed",
		Errors: []fieldProblem{{field, message}}}
}

func writeProblem(w http.ResponseWriter, p *problem) {
	raw, err := json.Marshal(p)
	if err != nil {
		raw = []byte(`{"title":"error","status":500}`)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	w.Write(raw)
}

// A reply is a good answer.
type reply struct {
	status int
	etag   string
	body   any
}

// A read answers from the state; the lock is held.
type read func(r *http.Request) (*reply, *problem)

// A write works out what to change and what to answer, and changes nothing
// itself; the lock is held.
type write func(r *http.Request, body []byte) (entry, *reply, *problem)

func (s *Server) routes() {
	s.mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write(Document("http://" + r.Host))
	})
	s.read("GET /tickets", "listTickets", s.listTickets)
	s.read("GET /tickets/batch", "getTicketsBatch", s.getTicketsBatch)
	s.read("GET /tickets/{id}", "getTicket", s.getTicket)
	s.write("POST /tickets", "createTicket", s.createTicket)
	s.write("PATCH /tickets/{id}", "updateTicket", s.updateTicket)
	s.read("GET /tickets/{id}/comments", "listComments", s.listComments)
	s.write("POST /tickets/{id}/comments", "createComment", s.createComment)
	s.read("GET /refunds", "listRefunds", s.listRefunds)
	s.read("GET /refunds/{id}", "getRefund", s.getRefund)
	s.write("POST /refunds", "createRefund", s.createRefund)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, refuse(http.StatusNotFound, "there is no such path or method"))
	})
}

func (s *Server) read(pattern, operation string, do read) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		fault, ok := s.admit(w, r, operation)
		if !ok {
			return
		}
		s.mu.Lock()
		rep, prob := do(r)
		// Encoded under the lock: what it points to may change afterwards.
		status, tag, body := encode(rep, prob)
		s.mu.Unlock()
		if fault.after(r.Context(), w) {
			return
		}
		if tag != "" && r.Header.Get("If-None-Match") == tag {
			w.Header().Set("ETag", tag)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		send(w, status, tag, body, prob != nil)
	})
}

func (s *Server) write(pattern, operation string, do write) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			writeProblem(w, refuse(http.StatusRequestEntityTooLarge, "the body is too large or was cut"))
			return
		}
		fault, ok := s.admit(w, r, operation)
		if !ok {
			return
		}
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			writeProblem(w, refuse(http.StatusUnsupportedMediaType, "send application/json"))
			return
		}
		status, tag, answer, isProblem, repeated := s.perform(operation, r, body, do)
		if fault.after(r.Context(), w) {
			return
		}
		if repeated {
			w.Header().Set("Idempotent-Replayed", "true")
		}
		send(w, status, tag, answer, isProblem)
	})
}

// perform does a write once per idempotency key. Refusals are not remembered.
func (s *Server) perform(operation string, r *http.Request, body []byte, do write) (status int, tag string, answer []byte, isProblem, repeated bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := sha256.Sum256(body)
	digest := hex.EncodeToString(sum[:])
	key := r.Header.Get("Idempotency-Key")
	scoped := operation + " " + r.URL.Path + " " + key
	fail := func(p *problem) (int, string, []byte, bool, bool) {
		status, _, raw := encode(nil, p)
		return status, "", raw, true, false
	}
	if len(key) > 255 {
		return fail(refuse(http.StatusBadRequest, "the Idempotency-Key is too long"))
	}
	if key != "" {
		if k := s.state.keys[scoped]; k != nil && s.now().Sub(k.At) < s.opts.KeyRetention {
			if k.Digest != digest {
				return fail(refuse(http.StatusUnprocessableEntity, "this Idempotency-Key was used with another body"))
			}
			return k.Status, k.ETag, k.Body, false, true
		}
	}
	e, rep, prob := do(r, body)
	if prob != nil {
		return fail(prob)
	}
	status, tag, answer = encode(rep, nil)
	if key != "" {
		e.Keyed = &keyed{Key: scoped, Digest: digest, At: s.now(), Status: status, ETag: tag, Body: answer}
	}
	if err := s.commit(e); err != nil {
		return fail(refuse(http.StatusInsufficientStorage, "the change could not be kept; nothing was done"))
	}
	s.effects[operation]++
	return status, tag, answer, false, false
}

// admit counts the call, and checks token, rate and faults. It reports whether
// the call goes on.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, operation string) (*Fault, bool) {
	s.mu.Lock()
	s.requests[operation]++
	fault := s.fault(operation)
	now := s.opts.Now()
	var wait time.Duration
	authorised := s.authorised(r)
	if authorised {
		wait = s.bucket.take(now, s.opts.Rate)
	}
	left := int(s.bucket.tokens)
	s.mu.Unlock()
	if !authorised {
		w.Header().Set("WWW-Authenticate", `Bearer realm="desk"`)
		writeProblem(w, refuse(http.StatusUnauthorized, "the token is missing or not valid"))
		return nil, false
	}
	h := w.Header()
	h.Set("X-RateLimit-Limit", strconv.Itoa(s.opts.Rate))
	h.Set("X-RateLimit-Remaining", strconv.Itoa(left))
	h.Set("X-RateLimit-Reset", strconv.FormatInt(now.Add(time.Minute).Unix(), 10))
	if wait > 0 {
		h.Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
		writeProblem(w, refuse(http.StatusTooManyRequests, "too many calls; wait as Retry-After says"))
		return nil, false
	}
	if fault.before(w) {
		return nil, false
	}
	return fault, true
}

func (s *Server) authorised(r *http.Request) bool {
	if s.opts.Token == "" {
		return true
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return ok && subtle.ConstantTimeCompare([]byte(token), []byte(s.opts.Token)) == 1
}

func encode(rep *reply, prob *problem) (status int, tag string, body []byte) {
	var v any = prob
	status = http.StatusInternalServerError
	if prob != nil {
		status = prob.Status
	} else {
		v, status, tag = rep.body, rep.status, rep.etag
	}
	body, err := json.Marshal(v)
	if err != nil {
		return http.StatusInternalServerError, "", []byte(`{"title":"error","status":500}`)
	}
	return status, tag, body
}

func send(w http.ResponseWriter, status int, tag string, body []byte, isProblem bool) {
	kind := "application/json"
	if isProblem {
		kind = "application/problem+json"
	}
	w.Header().Set("Content-Type", kind)
	if tag != "" {
		w.Header().Set("ETag", tag)
	}
	w.WriteHeader(status)
	w.Write(body)
}
