package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// A payments is a foreign API without idempotency keys: what is sent twice is
// done twice. It counts, and can misbehave.
type payments struct {
	web *httptest.Server

	mu    sync.Mutex
	done  map[string]int // by reference
	drop  map[string]bool
	hold  map[string]chan struct{}
	begun map[string]chan struct{}
}

func newPayments(t testing.TB) *payments {
	t.Helper()
	p := &payments{done: map[string]int{}, drop: map[string]bool{}, hold: map[string]chan struct{}{}, begun: map[string]chan struct{}{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /payments", p.pay)
	p.web = httptest.NewServer(mux)
	t.Cleanup(func() {
		p.web.CloseClientConnections()
		p.web.Close()
	})
	return p
}

// document is what the API says of itself.
func (p *payments) document() string {
	return strings.ReplaceAll(`{"openapi":"3.1.0","info":{"title":"Payments","version":"1"},"servers":[{"url":"@"}],"paths":{"/payments":{"post":{
 "operationId":"pay","requestBody":{"required":true,"content":{"application/json":{"schema":{"$ref":"#/components/schemas/NewPayment"}}}},
 "responses":{"201":{"description":"Paid","content":{"application/json":{"schema":{"$ref":"#/components/schemas/Payment"}}}}}}}},
 "components":{"schemas":{
  "NewPayment":{"type":"object","required":["ref","amount"],"properties":{"ref":{"type":"string"},"amount":{"type":"integer","format":"int32"}}},
  "Payment":{"type":"object","required":["id","ref"],"properties":{"id":{"type":"string"},"ref":{"type":"string"}}}}}}`, "@", p.web.URL)
}

func (p *payments) pay(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Ref    string
		Amount int
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		http.Error(w, "no JSON", http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	p.done[in.Ref]++
	n, drop, hold, begun := p.done[in.Ref], p.drop[in.Ref], p.hold[in.Ref], p.begun[in.Ref]
	p.mu.Unlock()
	if begun != nil {
		close(begun)
	}
	if hold != nil {
		<-hold
	}
	if drop {
		if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
			conn.Close()
		}
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, `{"id":"p%d","ref":%q}`, n, in.Ref)
}

// count is how often a reference was paid.
func (p *payments) count(ref string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.done[ref]
}
