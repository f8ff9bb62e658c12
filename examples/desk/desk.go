// Package desk is a small help desk as an HTTP server: the sample SaaS of the
// demo, and what the OpenAPI connector is tested against. It behaves like a
// vendor's API: an OpenAPI 3.1 document, bearer tokens, cursor pages, filters,
// a batch read, ETags, idempotency keys, a rate limit and problem documents.
//
// It must not know anything of Countersign: it is a foreign system, and nothing
// of this module is imported here.
package desk

import (
	"bytes"
	_ "embed" // the document
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"
)

//go:embed openapi.json
var document []byte

// placeholderURL is the server's address as it stands in the embedded document.
const placeholderURL = "http://127.0.0.1:0"

// Document is the OpenAPI document of a desk served at baseURL (no trailing
// slash).
func Document(baseURL string) []byte {
	quoted, err := json.Marshal(baseURL)
	if err != nil {
		return document
	}
	return bytes.Replace(document, []byte(`"`+placeholderURL+`"`), quoted, 1)
}

// Options of a desk. The zero value is a desk in memory without tickets that
// asks for no token.
type Options struct {
	// Dir keeps the journal; created when absent. "" keeps nothing.
	Dir string
	// Token is the bearer token every call must carry; "" asks for none.
	Token string
	// Requesters are the e-mail addresses of the people who wrote the seeded
	// tickets; nil seeds none. They matter only until the journal exists.
	Requesters []string
	// Orders tells, per requester, the ids of orders that tickets may be about.
	Orders map[string][]int64
	// Tickets is how many are seeded; 0 means 400.
	Tickets int
	// Rate is how many calls a minute are allowed; 0 means 6000.
	Rate int
	// KeyRetention is how long an idempotency key is remembered; 0 means 24 h.
	KeyRetention time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// A Server is one desk. All methods may be called concurrently.
type Server struct {
	opts Options
	mux  *http.ServeMux

	mu       sync.Mutex // guards everything below; a write holds it until it is in the journal
	state    state
	journal  *journal
	bucket   bucket
	effects  map[string]int
	requests map[string]int
	faults   []*Fault
}

// New opens a desk: it reads the journal of opts.Dir, or seeds a new one.
func New(opts Options) (*Server, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Rate <= 0 {
		opts.Rate = 6000
	}
	if opts.KeyRetention <= 0 {
		opts.KeyRetention = 24 * time.Hour
	}
	if opts.Tickets <= 0 {
		opts.Tickets = 400
	}
	s := &Server{opts: opts, mux: http.NewServeMux(), state: newState(),
		effects: make(map[string]int), requests: make(map[string]int)}
	s.bucket = bucket{tokens: float64(opts.Rate), at: opts.Now()}
	if err := s.open(); err != nil {
		return nil, err
	}
	s.routes()
	return s, nil
}

// open reads the journal, and writes the seed into one that holds nothing.
func (s *Server) open() error {
	seed := func() []entry { return seedEntries(s.opts) }
	if s.opts.Dir == "" {
		for _, e := range seed() {
			s.state.apply(e)
		}
		return nil
	}
	j, entries, err := openJournal(s.opts.Dir)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		entries = seed()
		if err := j.append(entries...); err != nil {
			j.close()
			return err
		}
	}
	for _, e := range entries {
		s.state.apply(e)
	}
	s.journal = j
	return nil
}

// Handler serves the desk.
func (s *Server) Handler() http.Handler { return s.mux }

// Close ends the journal. Calls that write fail afterwards.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal == nil {
		return nil
	}
	return s.journal.close()
}

// Effects counts what was really done since New, by operationId: answers
// repeated for an idempotency key do not count.
func (s *Server) Effects() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copyCounts(s.effects)
}

// Requests counts the calls that arrived since New, by operationId, the
// refused ones too.
func (s *Server) Requests() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return copyCounts(s.requests)
}

func copyCounts(m map[string]int) map[string]int {
	out := make(map[string]int, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// Edit changes a ticket as somebody at the desk would: behind the back of
// every client. It reports whether the ticket exists.
func (s *Server) Edit(id int64, change func(*Ticket)) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.state.tickets[id]
	if old == nil {
		return false, nil
	}
	t := old.clone()
	change(t)
	t.ID, t.Version, t.UpdatedAt = id, old.Version+1, s.now()
	return true, s.commit(entry{Ticket: t})
}

// now is the clock in the desk's resolution.
func (s *Server) now() time.Time { return s.opts.Now().UTC().Truncate(time.Millisecond) }

// commit makes an entry durable, then visible. The lock is held.
func (s *Server) commit(e entry) error {
	if s.journal != nil {
		if err := s.journal.append(e); err != nil {
			return err
		}
	}
	s.state.apply(e)
	return nil
}

// A bucket is a token bucket that holds a minute's worth of calls.
type bucket struct {
	tokens float64
	at     time.Time
}

// take takes a token; without one it tells how long to wait.
func (b *bucket) take(now time.Time, perMinute int) (wait time.Duration) {
	perSecond := float64(perMinute) / 60
	b.tokens = min(float64(perMinute), b.tokens+now.Sub(b.at).Seconds()*perSecond)
	b.at = now
	if b.tokens < 1 {
		return time.Duration((1 - b.tokens) / perSecond * float64(time.Second))
	}
	b.tokens--
	return 0
}

func etag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }
