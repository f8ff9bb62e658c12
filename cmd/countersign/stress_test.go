package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"sync"
	"testing"

	"github.com/countersign/countersign/connectors/connectortest"
)

// TestEverySubscriberSeesTheEnd: many change proposals at once, through two
// servers where the store allows it; whoever listens, however slowly, is told
// the last state of every one.
func TestEverySubscriberSeesTheEnd(t *testing.T) {
	for _, store := range []string{"sqlite", "postgres"} {
		t.Run(store, func(t *testing.T) {
			leavesNothing(t)
			s := newShop(t, "")
			if store == "postgres" {
				s.write(t, "countersign.yaml", s.read(t, "countersign.yaml")+"store: "+connectortest.Postgres(t)+"\n")
			}
			s.staff(t)
			nodes := []*node{within(t, s.site)}
			if store == "postgres" {
				nodes = append(nodes, within(t, s.site)) // of one store and one data folder
			}
			lea := s.signIn(t, nodes[0], "lea@shop.example")
			busy(t)
			var subscribers []*subscriber
			for i := range 6 {
				subscribers = append(subscribers, s.follow(t, nodes[i%len(nodes)], lea))
			}
			// Half of them read all the time, the others nothing until all is done.
			var reading sync.WaitGroup
			ended := make(chan struct{})
			var want map[string]string
			for i, sub := range subscribers {
				reading.Go(func() {
					if i%2 == 1 {
						<-ended
					}
					sub.readUntil(t, ended, &want)
				})
			}
			want = s.decideAtOnce(t, nodes, lea)
			close(ended)
			s.propose(t, nodes[0], 60, 9000) // whoever was told all already looks once more
			reading.Wait()
		})
	}
}

// busy keeps the processors busy until the test ends.
func busy(t testing.TB) {
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if n%1000 == 0 {
					runtime.Gosched()
				}
			}
		})
	}
	t.Cleanup(func() { stop(); running.Wait() })
}

// A subscriber is one WebSocket and what it was told last.
type subscriber struct {
	ws   *socket
	last map[string]string
}

// readUntil reads until it was told how all that ended is; want is there once
// ended is closed.
func (sub *subscriber) readUntil(t testing.TB, ended <-chan struct{}, want *map[string]string) {
	for {
		select {
		case <-ended:
			if told := func() bool {
				for id, state := range *want {
					if sub.last[id] != state {
						return false
					}
				}
				return true
			}(); told {
				return
			}
		default:
		}
		m, err := sub.ws.read()
		var p struct {
			Data struct{ ProposalsChanged struct{ ID, State string } }
		}
		if err == nil {
			err = json.Unmarshal(m.Payload, &p)
		}
		if err != nil {
			missing := map[string]string{}
			for id, state := range *want {
				if sub.last[id] != state {
					missing[id] = sub.last[id] + ", not " + state
				}
			}
			t.Errorf("a subscriber was not told of %v: %v", missing, err)
			return
		}
		sub.last[p.Data.ProposalsChanged.ID] = p.Data.ProposalsChanged.State
	}
}

func (s *shopSite) follow(t testing.TB, n *node, token string) *subscriber {
	t.Helper()
	ws := dial(t, n, bearer(token))
	ws.init(t, nil)
	ws.subscribe(t, "1", `subscription { proposalsChanged { id state changes { diff { before after } request } decisions { by kind } } }`)
	subscribed(t, n, s, ws)
	return &subscriber{ws: ws, last: map[string]string{}}
}

// decideAtOnce proposes and decides from many sides, and answers where each
// proposal ended.
func (s *shopSite) decideAtOnce(t testing.TB, nodes []*node, lea string) map[string]string {
	t.Helper()
	var mu sync.Mutex
	ids := map[string]bool{}
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			n := nodes[worker%len(nodes)]
			for i := range 6 {
				a, err := n.try(s.tokens["bot"], stockProposal, vars{"id": 1 + worker*6 + i, "n": 5000 + i})
				for err == nil && a.at("updateItem.errors.0.code") == "LOCK_TIMEOUT" { // the item's, of another write
					a, err = n.try(s.tokens["bot"], stockProposal, vars{"id": 1 + worker*6 + i, "n": 5000 + i})
				}
				if err != nil || a.at("updateItem.outcome") != "PROPOSED" {
					t.Errorf("proposing: %+v %v", a, err)
					return
				}
				id := a.at("updateItem.proposal.id")
				mu.Lock()
				ids[id] = true
				mu.Unlock()
				switch i % 3 {
				case 0:
					_, err = n.try(s.tokens["bot"], `mutation ($id: ID!) { withdrawProposal(id: $id) { state } }`, vars{"id": id})
				default:
					_, err = n.tryApprove(t, lea, id)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	out := map[string]string{}
	for id := range maps.Keys(ids) {
		out[id] = nodes[0].settledState(t, lea, id)
	}
	if len(out) != 24 {
		t.Fatal(fmt.Sprint("proposals: ", len(out)))
	}
	return out
}
