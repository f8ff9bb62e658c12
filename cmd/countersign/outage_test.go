package main

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/examples/desk"
)

// A flaky is an HTTP server that goes away and comes back on its port.
type flaky struct {
	t       testing.TB
	handler http.Handler
	address string
	mu      sync.Mutex
	server  *http.Server
}

func (f *flaky) start() {
	f.t.Helper()
	l, err := net.Listen("tcp", f.address)
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.address = l.Addr().String()
	f.server = &http.Server{Handler: f.handler}
	go f.server.Serve(l)
}

func (f *flaky) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.server != nil {
		f.server.Close()
	}
	f.server = nil
}

// TestSourcesDownAndBack: a gateway starts beside sources that are down, says
// which, answers what it can, and has the rest when they are back.
func TestSourcesDownAndBack(t *testing.T) {
	t.Parallel()
	pg := connectortest.PostgresServer(t)
	crm := openForeign(t, "postgres", pg.NewDatabase(t))
	crm.exec(t, `CREATE TABLE person (id int PRIMARY KEY, email text NOT NULL)`, `INSERT INTO person VALUES (1, 'a@example.org')`)
	d, err := desk.New(desk.Options{Requesters: []string{"a@example.org"}, Tickets: 20})
	if err != nil {
		t.Fatal(err)
	}
	web := &flaky{t: t, address: "127.0.0.1:0"}
	var base string
	web.handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { d.Handler().ServeHTTP(w, r) })
	web.start()
	t.Cleanup(func() {
		web.stop()
		d.Close()
	})
	base = "http://" + web.address
	s := newShop(t, deskYAML(base)+"  crm: { connector: postgres, url: \"${CRM_URL}\", limits: { deadline: 2s } }\n", "CRM_URL="+crm.url+"\n")
	s.staff(t)
	crm.db.Close()
	pg.Stop(t)
	web.stop()

	n := within(t, s.site)
	n.ready(t)
	owner := s.signIn(t, n, "olga@shop.example")
	all := `{ people(first: 1) { nodes { email } } deskTickets(first: 1) { nodes { id } } items(first: 1) { nodes { name } } viewer { id } countersign { sources { name status message } } }`
	partly := func(want map[string]bool) func() (bool, string) {
		return func() (bool, string) {
			a := n.ask(t, owner, all, nil)
			errs := map[string]string{}
			for _, e := range a.Errors {
				source, _ := e.Extensions["source"].(string)
				errs[source], _ = e.Extensions["code"].(string)
				if e.Extensions["retryable"] != true || len(e.Path) == 0 {
					t.Errorf("an error of a source that is down: %+v", e)
				}
			}
			if a.at("items.nodes.0.name") != "Item 1" || a.at("viewer.id") != "user:olga@shop.example" {
				t.Errorf("the rest does not stand: %s", a.raw)
			}
			for field, source := range map[string]string{"people": "crm", "deskTickets": "desk"} {
				down := a.at(field) == "null" && errs[source] == "UPSTREAM_UNAVAILABLE"
				up := a.at(field+".nodes.0") != "" && errs[source] == ""
				if want[source] != up || want[source] == down {
					return false, a.raw
				}
			}
			return true, a.raw
		}
	}
	if ok, said := partly(map[string]bool{})(); !ok {
		t.Errorf("with both down: %s", said)
	}
	// A write needs its source; what is refused is not half done.
	a := n.must(t, owner, `mutation { updatePerson(id: 1, patch: {email: "b@example.org"}) { outcome errors { code retryable } } }`, nil)
	if a.at("updatePerson.outcome") != "NOT_APPLIED" || a.at("updatePerson.errors.0.code") != "UPSTREAM_UNAVAILABLE" {
		t.Errorf("a write to a source that is down: %s", a.raw)
	}
	eventually(t, "the sources to be told as down", func() (bool, string) {
		a := n.must(t, owner, `{ countersign { sources { name status message } } }`, nil)
		return strings.Count(a.raw, `"DOWN"`) == 2 && !strings.Contains(a.raw, "127.0.0.1"), a.raw
	})
	pg.Start(t)
	eventually(t, "crm to be back", partly(map[string]bool{"crm": true}))
	web.start()
	eventually(t, "both to be back", partly(map[string]bool{"crm": true, "desk": true}))
	if a := n.must(t, owner, `mutation { updatePerson(id: 1, patch: {email: "b@example.org"}) { outcome person { email } errors { code } } }`, nil); a.at("updatePerson.person.email") != "b@example.org" {
		t.Errorf("a write to a source that is back: %s", a.raw)
	}
	// Gone under a running gateway, and back again.
	pg.Stop(t)
	eventually(t, "crm to be gone", partly(map[string]bool{"desk": true}))
	pg.Start(t)
	eventually(t, "crm to be back again", partly(map[string]bool{"crm": true, "desk": true}))
}

// TestStoreGone: without its store the gateway refuses writes with a code, and
// nothing is half done; when the store is back it goes on.
func TestStoreGone(t *testing.T) {
	t.Parallel()
	pg := connectortest.PostgresServer(t)
	s := newShop(t, "")
	s.write(t, "countersign.yaml", s.read(t, "countersign.yaml")+"store: ${STORE_URL}\nsecret: ${SECRET}\n")
	s.write(t, ".env", "STORE_URL="+pg.NewDatabase(t)+"\nSECRET="+strings.Repeat("0123456789abcdef", 4)+"\n")
	s.staff(t)
	n := within(t, s.site)
	owner, lead := s.signIn(t, n, "olga@shop.example"), s.signIn(t, n, "lea@shop.example")
	propose := func(id int) string {
		return fmt.Sprintf(`mutation { updateItem(id: %d, patch: {stock: {set: 7}}) { outcome proposal { id } errors { code message } } }`, id)
	}
	a := n.must(t, s.tokens["bot"], propose(1), nil)
	id := a.at("updateItem.proposal.id")
	p := n.proposal(t, lead, id)
	decision := vars{"id": id, "r": 1, "c": p.at("proposal.contentHash"), "v": p.at("proposal.reviewHash")}
	pg.Stop(t)
	for what, ask := range map[string]func() (*answer, error){
		"a proposal": func() (*answer, error) { return n.try(s.tokens["bot"], propose(2), nil) },
		"a decision": func() (*answer, error) { return n.try(lead, approveMutation, decision) },
		"a keyed write": func() (*answer, error) {
			return n.try(owner, `mutation { updateItem(id: 4, patch: {stock: {set: 7}}, options: {idempotencyKey: "k"}) { outcome errors { code message } } }`, nil)
		},
		"an unknown credential": func() (*answer, error) { return n.try("css_"+strings.Repeat("x", 42)+"A", "{ viewer { id } }", nil) },
	} {
		a, err := ask()
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		code := a.code()
		if code == "" {
			code = a.at("updateItem.errors.0.code")
		}
		if code != "UPSTREAM_UNAVAILABLE" || strings.Contains(a.raw, `"APPLIED"`) || strings.Contains(a.raw, "postgres") || strings.Contains(a.raw, "127.0.0.1") {
			t.Errorf("without its store %s is answered %d %s", what, a.status, a.raw)
		}
	}
	if res, err := http.Get(n.url + "/readyz"); err != nil || res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("/readyz: %v %v", res, err)
	}
	if res, err := http.Get(n.url + "/healthz"); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("/healthz: %v %v", res, err)
	}
	if got := s.f.value(t, "SELECT count(*) FROM item WHERE stock <> id"); got != "0" {
		t.Errorf("%s items were changed without the store", got)
	}
	pg.Start(t)
	n.ready(t)
	eventually(t, "decisions to be taken again", func() (bool, string) {
		a, err := n.try(lead, approveMutation, decision)
		if err != nil {
			return false, err.Error()
		}
		return len(a.Errors) == 0, a.raw
	})
	if state := n.settledState(t, lead, id); state != "EXECUTED" {
		t.Errorf("it is %s", state)
	}
	if got := s.f.value(t, "SELECT count(*) FROM item WHERE stock <> id"); got != "1" {
		t.Errorf("%s items were changed", got)
	}
	n.stop(t)
	do(t, "", "audit", "verify", "--data", s.data(), "--config", s.file("countersign.yaml"))
}
