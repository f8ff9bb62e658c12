package desk

import (
	"context"
	"net/http"
)

// FaultKind is a way to misbehave.
type FaultKind string

// The ways to misbehave.
const (
	FaultDropReply  FaultKind = "dropReply"  // do it, then close the connection without an answer
	FaultDropBefore FaultKind = "dropBefore" // close the connection and do nothing
	FaultHold       FaultKind = "hold"       // do it, then answer only when Until is closed
	FaultStatus     FaultKind = "status"     // answer Status and do nothing
	FaultStatusDone FaultKind = "statusDone" // do it, then answer Status
	FaultGarbage    FaultKind = "garbage"    // do it, then answer 200 with what is no JSON
	FaultHuge       FaultKind = "huge"       // do it, then answer 200 with 16 MiB of JSON
	FaultBody       FaultKind = "body"       // do it, then answer 200 with Body
)

// A Fault makes calls of an operation misbehave.
type Fault struct {
	Operation string // operationId; "" is every operation
	Kind      FaultKind
	Times     int // how many calls; 0: all until ClearFaults
	Status    int
	Header    http.Header // added to the answer of FaultStatus and FaultStatusDone
	Body      string
	Until     <-chan struct{}
	// Held, where set, is sent to by each call that begins to wait for Until.
	Held chan<- struct{}
}

// Misbehave arms a fault. The first armed fault that fits a call is used.
func (s *Server) Misbehave(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// ClearFaults ends all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// fault takes the fault for this call, if any. The lock is held.
func (s *Server) fault(operation string) *Fault {
	for i, f := range s.faults {
		if f.Operation != "" && f.Operation != operation {
			continue
		}
		if f.Times == 1 {
			s.faults = append(s.faults[:i:i], s.faults[i+1:]...)
		} else if f.Times > 1 {
			f.Times--
		}
		return f
	}
	return nil
}

// before misbehaves instead of doing anything; it reports whether it did.
func (f *Fault) before(w http.ResponseWriter) bool {
	if f == nil {
		return false
	}
	switch f.Kind {
	case FaultDropBefore:
		drop(w)
	case FaultStatus:
		f.answer(w)
	default:
		return false
	}
	return true
}

// after misbehaves instead of answering; it reports whether it did.
func (f *Fault) after(ctx context.Context, w http.ResponseWriter) bool {
	if f == nil {
		return false
	}
	switch f.Kind {
	case FaultDropReply:
		drop(w)
	case FaultStatusDone:
		f.answer(w)
	case FaultGarbage:
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte("{\"data\": [\x00\xff<html>"))
	case FaultBody:
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(f.Body))
	case FaultHuge:
		w.Header().Set("Content-Type", "application/json")
		huge(w)
	case FaultHold:
		if f.Held != nil {
			select {
			case f.Held <- struct{}{}:
			case <-ctx.Done():
			}
		}
		select {
		case <-f.Until:
		case <-ctx.Done():
		}
		return false
	default:
		return false
	}
	return true
}

func (f *Fault) answer(w http.ResponseWriter) {
	for k, v := range f.Header {
		w.Header()[http.CanonicalHeaderKey(k)] = v
	}
	writeProblem(w, &problem{Status: f.Status, Title: http.StatusText(f.Status)})
}

// drop closes the connection under the client's feet.
func drop(w http.ResponseWriter) {
	if h, ok := w.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			conn.Close()
		}
	}
}

func huge(w http.ResponseWriter) {
	chunk := make([]byte, 1<<20)
	for i := range chunk {
		chunk[i] = 'x'
	}
	w.Write([]byte(`{"data":["`))
	for range 16 {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
	w.Write([]byte(`"]}`))
}
