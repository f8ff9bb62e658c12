package main

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/examples/desk"
)

// TestLostReplies: nothing is killed, but an answer is lost on its way. What can
// be repeated is repeated, to one effect; what cannot is unknown, and said so.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	t.Run("idempotent", func(t *testing.T) {
		t.Parallel()
		s, d := y.copy(t, "idempotent")
		n := serve(t, s)
		id := d.propose(t, n, s.tokens["bot"], "key")
		y.desk.Misbehave(desk.Fault{Operation: "updateTicket", Kind: desk.FaultDropReply, Times: 2})
		n.approve(t, s.tokens["lead"], id)
		if state := n.settledState(t, s.tokens["lead"], id); state != "EXECUTED" {
			t.Errorf("it is %s", state)
		}
		if got := d.effects(t); got != 1 {
			t.Errorf("%d effects", got)
		}
	})
	t.Run("unverifiable", func(t *testing.T) {
		t.Parallel()
		s, d := y.copy(t, "unverifiable")
		n := serve(t, s)
		id := d.propose(t, n, s.tokens["bot"], "key")
		ref := strings.Split(d.mutation, `"`)[1]
		y.payments.mu.Lock()
		y.payments.drop[ref] = true
		y.payments.mu.Unlock()
		n.approve(t, s.tokens["lead"], id)
		if state := n.settledState(t, s.tokens["lead"], id); state != "OUTCOME_UNKNOWN" {
			t.Errorf("it is %s", state)
		}
		if got := d.effects(t); got != 1 {
			t.Errorf("%d effects", got)
		}
		y.settleUnknown(t, n, s, d, id, 1)
	})
	t.Run("unverifiable and refused", func(t *testing.T) {
		t.Parallel()
		s, d := y.copy(t, "unverifiable")
		gone := "http://" + freeAddress(t)
		s.write(t, "countersign.yaml", strings.Replace(s.read(t, "countersign.yaml"), y.payments.web.URL, gone, 1))
		s.write(t, "plain.json", strings.ReplaceAll(s.read(t, "plain.json"), y.payments.web.URL, gone))
		s.run(t, "refresh", "plain", "--accept")
		n := serve(t, s)
		id := d.propose(t, n, s.tokens["bot"], "key")
		n.approve(t, s.tokens["lead"], id)
		// No byte was processed: that is known, and it is tried again for a while.
		if state := n.settledState(t, s.tokens["lead"], id); state != "FAILED" {
			t.Errorf("it is %s", state)
		}
		if got := d.effects(t); got != 0 {
			t.Errorf("%d effects", got)
		}
	})
	t.Run("P10", func(t *testing.T) {
		t.Parallel()
		s, d := y.copy(t, "postgres")
		u, err := url.Parse(y.pg.url)
		if err != nil {
			t.Fatal(err)
		}
		proxy := newCommitProxy(t, u.Host)
		u.Host = proxy.Addr().String()
		s.write(t, ".env", "PG_URL="+u.String()+"\nDESK_TOKEN=token-of-the-desk\n")
		n := serve(t, s)
		id := d.propose(t, n, s.tokens["bot"], "key")
		proxy.arm()
		n.approve(t, s.tokens["lead"], id)
		if state := n.settledState(t, s.tokens["lead"], id); state != "EXECUTED" {
			t.Errorf("it is %s", state)
		}
		if !proxy.fired() {
			t.Error("no COMMIT went through the proxy: nothing was tested")
		}
		if p := n.proposal(t, s.tokens["lead"], id); p.at("proposal.execution.attempts") == "1" {
			t.Errorf("its answer was lost and it was sent once: %s", p.raw)
		}
		if got := d.effects(t); got != 1 {
			t.Errorf("%d effects", got)
		}
	})
}

// A commitProxy stands before a PostgreSQL server. Once armed, it lets a COMMIT
// through and ends the connection instead of passing its answer on.
type commitProxy struct {
	net.Listener
	target string

	mu          sync.Mutex
	armed, shot bool
}

func newCommitProxy(t testing.TB, target string) *commitProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &commitProxy{Listener: l, target: target}
	t.Cleanup(func() { l.Close() })
	go p.serve()
	return p
}

func (p *commitProxy) arm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed = true
}

func (p *commitProxy) fired() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.shot
}

// commits tells whether this piece of the stream is the COMMIT to shoot at.
func (p *commitProxy) commits(piece []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.armed || !bytes.Contains(bytes.ToLower(piece), []byte("commit")) || !p.begunWrite(piece) {
		return false
	}
	p.armed, p.shot = false, true
	return true
}

// begunWrite passes over the COMMIT that ends a snapshot for reading.
func (p *commitProxy) begunWrite(piece []byte) bool {
	return !bytes.Contains(bytes.ToLower(piece), []byte("read only"))
}

func (p *commitProxy) serve() {
	for {
		client, err := p.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		deaf := make(chan struct{})
		go func() {
			defer server.Close()
			buf := make([]byte, 1<<16)
			for {
				n, err := client.Read(buf)
				if err != nil {
					return
				}
				if p.commits(buf[:n]) {
					close(deaf)
				}
				if _, err := server.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
		go func() {
			defer client.Close()
			buf := make([]byte, 1<<16)
			for {
				n, err := server.Read(buf)
				if err != nil {
					return
				}
				select {
				case <-deaf:
					return // it committed, and nobody hears of it
				default:
				}
				if _, err := io.Copy(client, bytes.NewReader(buf[:n])); err != nil {
					return
				}
			}
		}()
	}
}

// TestStoppedExecutorWakes (P9): a gateway that sleeps through its lease finds
// that another one has taken over, and changes nothing any more.
func TestStoppedExecutorWakes(t *testing.T) {
	t.Parallel()
	y := newYard(t)
	for class, want := range map[string]string{"unverifiable": "OUTCOME_UNKNOWN", "idempotent": "EXECUTED"} {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			y.stoppedExecutor(t, class, want)
		})
	}
}

func (y *yard) stoppedExecutor(t *testing.T, class, want string) {
	s, d := y.copy(t, class)
	// Two gateways share one store, the key and the people are made in it.
	shared := connectortest.Postgres(t)
	s.write(t, "countersign.yaml", s.read(t, "countersign.yaml")+"store: "+"${STORE_URL}"+"\nsecret: ${SECRET}\n")
	s.write(t, ".env", s.read(t, ".env")+"STORE_URL="+shared+"\nSECRET="+strings.Repeat("0123456789abcdef", 4)+"\n")
	for _, who := range []string{"asker", "lead", "boss"} {
		role := "lead"
		if who == "asker" {
			role = who
		}
		s.addUser(t, who, role)
	}
	s.tokens = map[string]string{}
	_, s.tokens["bot"] = s.addKey(t, "bot", "asker")
	first := serveFailing(t, s, shortLease)
	for _, who := range []string{"asker", "lead", "boss"} {
		s.signIn(t, first, who)
	}
	lead := s.tokens["lead"]
	id := d.propose(t, first, s.tokens["bot"], "key")
	release, begun := make(chan struct{}), make(chan struct{}, 1)
	if class == "unverifiable" {
		ref := strings.Split(d.mutation, `"`)[1]
		arrived := make(chan struct{})
		y.payments.mu.Lock()
		y.payments.hold[ref], y.payments.begun[ref] = release, arrived
		y.payments.mu.Unlock()
		first.approve(t, lead, id)
		<-arrived
	} else {
		y.desk.Misbehave(desk.Fault{Operation: "updateTicket", Kind: desk.FaultHold, Times: 1, Until: release, Held: begun})
		first.approve(t, lead, id)
		<-begun
	}
	if err := first.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	second := serveFailing(t, s, "COUNTERSIGN_TEST_LEASE=3s")
	if state := second.settledState(t, lead, id); state != want {
		t.Errorf("the second gateway says %s: %s", state, second.proposal(t, lead, id).raw)
	}
	version := func() string {
		return second.must(t, lead, `query ($id: ID!) { proposal(id: $id) { state events { event to } } }`, vars{"id": id}).raw
	}
	before := version()
	close(release)
	if err := first.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	// Once it answers, it is awake; it ends after what it had sent is over.
	first.ready(t)
	first.stop(t)
	if after := version(); after != before {
		t.Errorf("it was\n%s\nand is, after the first gateway woke,\n%s", before, after)
	}
	if got := d.effects(t); got != 1 {
		t.Errorf("%d effects", got)
	}
	if class == "unverifiable" {
		y.settleUnknown(t, second, s, d, id, 1)
	}
	second.stop(t)
}
