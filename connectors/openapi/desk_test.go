package openapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/httpcall"
	"github.com/countersign/countersign/connectors/openapi"
	"github.com/countersign/countersign/examples/desk"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func people() []string {
	var list []string
	for i := range 60 {
		list = append(list, fmt.Sprintf("person%d@example.com", i))
	}
	return list
}

// deskConfig is the demo's configuration of the help desk.
func deskConfig(url string) openapi.Config {
	filter := func(p string) map[connectors.Op]string { return map[connectors.Op]string{connectors.OpEq: p} }
	page := openapi.PageConfig{Style: openapi.PageCursor, Next: "links.next", Size: "page[size]"}
	return openapi.Config{
		Name: "desk", SpecData: desk.Document(url), BaseURL: url, Auth: httpcall.Auth{Bearer: "t0ken-of-desk"}, RetryMax: time.Millisecond,
		Collections: map[string]openapi.CollectionConfig{
			"tickets": {List: "listTickets", Get: "getTicket", Create: "createTicket", Update: "updateTicket",
				Batch: openapi.BatchConfig{Operation: "getTicketsBatch", Parameter: "ids"}, Page: page,
				Filter: map[string]map[connectors.Op]string{"requesterEmail": filter("requester"), "status": filter("status"), "updatedAt": {connectors.OpGte: "updatedSince"}}},
			"comments": {List: "listComments", Create: "createComment", Page: page, Filter: map[string]map[connectors.Op]string{"ticketId": filter("ticketId")}},
			"refunds":  {List: "listRefunds", Get: "getRefund", Page: page, Filter: map[string]map[connectors.Op]string{"ticketId": filter("ticketId")}},
		},
		Outcome: map[string]openapi.OutcomeConfig{
			"createRefund": {Class: connectors.Idempotent, Header: "Idempotency-Key", Keep: 24 * time.Hour},
			"updateTicket": {Class: connectors.Idempotent, Header: "Idempotency-Key", Keep: 24 * time.Hour},
		},
	}
}

type fixture struct {
	t    *testing.T
	desk *desk.Server
	src  *openapi.Source
	web  *httptest.Server
}

func start(t *testing.T, change func(*openapi.Config)) *fixture {
	t.Helper()
	d, err := desk.New(desk.Options{Token: "t0ken-of-desk", Requesters: people(), Orders: map[string][]int64{"person0@example.com": {7, 9}}})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(d.Handler())
	cfg := deskConfig(web.URL)
	if change != nil {
		change(&cfg)
	}
	src, err := openapi.Open(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
		web.CloseClientConnections()
		web.Close()
		d.Close()
	})
	return &fixture{t: t, desk: d, src: src, web: web}
}

// read runs a query to its end and gives the cells as text.
func read(src connectors.Connector, q *connectors.Query) (cells [][]string, bind []uint32, err error) {
	rows, err := src.Query(context.Background(), q)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for {
		b, err := rows.Next(context.Background())
		if err != nil || b == nil {
			return cells, bind, err
		}
		for i := range b.Rows() {
			var row []string
			for j := range b.Columns {
				if !json.Valid(b.Cell(i, j)) {
					return nil, nil, fmt.Errorf("cell %q is no JSON", b.Cell(i, j))
				}
				row = append(row, string(b.Cell(i, j)))
			}
			cells = append(cells, row)
		}
		bind = append(bind, b.Bind...)
	}
}

func (f *fixture) read(q *connectors.Query) ([][]string, []uint32) {
	f.t.Helper()
	cells, bind, err := read(f.src, q)
	if err != nil {
		e := connectors.AsError(err)
		f.t.Fatalf("%v (cause: %v, upstream: %s)", e, e.Cause, e.Upstream)
	}
	return cells, bind
}

func sel(collection string, columns ...string) *connectors.Select {
	s := &connectors.Select{Collection: collection}
	for _, c := range columns {
		s.Columns = append(s.Columns, connectors.Column{Field: c})
	}
	return s
}

func eq(field string, v connectors.Value) *connectors.Condition {
	return connectors.Compare(field, connectors.OpEq, connectors.Const(v))
}

func limit(n int64) *connectors.Page {
	return &connectors.Page{Limit: connectors.Const(connectors.Int(n))}
}
