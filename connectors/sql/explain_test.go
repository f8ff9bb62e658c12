package sql_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/sql"
)

// TestTrace: a statement is told as it was sent, with a text for each value:
// the caller's own, the bounds of a page, and nothing of any other.
func TestTrace(t *testing.T) {
	for _, dialect := range dialects {
		t.Run(dialect, func(t *testing.T) {
			url := database(t, dialect, `create table thing (id integer primary key, name text not null, owner text not null)`,
				`insert into thing values (1, 'a', 'canary'), (2, 'b', 'canary')`)
			e, _ := open(t, sql.Config{Name: "things", Dialect: dialect, URL: url})
			told := func(q *connectors.Query) connectors.Sent {
				t.Helper()
				trace := connectors.NewTrace(func(text string) bool { return text == "mine" || text == "5" })
				rows, err := e.Query(connectors.WithTrace(t.Context(), trace), q)
				if err == nil {
					rows.Close()
				}
				sent := trace.Sent()
				if len(sent) != 1 || sent[0].Source != "things" || sent[0].Object != "thing" || sent[0].Began.IsZero() || sent[0].Took <= 0 {
					t.Fatalf("%+v", sent)
				}
				return sent[0]
			}
			same := func(what string, s connectors.Sent, values ...string) {
				t.Helper()
				if !slices.Equal(s.Values, values) || !strings.HasPrefix(s.Statement, "select ") || strings.Contains(s.Statement, "canary") {
					t.Errorf("%s: %q of %s", what, s.Values, s.Statement)
				}
			}
			sel := &connectors.Select{Collection: "thing", Columns: []connectors.Column{{Field: "name"}}, Page: &connectors.Page{Limit: connectors.Const(connectors.Int(3))},
				Order: []connectors.OrderTerm{{Field: "id"}}, Where: connectors.And(connectors.Compare("owner", connectors.OpEq, connectors.Arg(0)),
					connectors.Compare("name", connectors.OpEq, connectors.Arg(1)), connectors.Compare("name", connectors.OpIn, connectors.Arg(2)))}
			args := []connectors.Value{connectors.String("canary"), connectors.String("mine"), connectors.ListOf(connectors.String("mine"), connectors.String("canary"))}
			same("a page", told(&connectors.Query{Select: sel.Seal(), Args: args}), "…", `"mine"`, `["mine",…]`, "3")

			joined := &connectors.Select{Collection: "thing", Columns: []connectors.Column{{Field: "name"}}, Bind: []string{"id"}}
			s := told(&connectors.Query{Select: joined.Seal(), Bind: [][]connectors.Value{{connectors.Int(1)}, {connectors.Int(5)}}})
			if same("a join", s, "2 keys"); s.Keys != 2 || s.Snapshot || s.Failed != "" {
				t.Errorf("%+v", s)
			}

			snap := new(connectors.Snapshot)
			s = told(&connectors.Query{Select: sel.Seal(), Args: args, Snapshot: snap})
			snap.End()
			if !s.Snapshot {
				t.Errorf("%+v", s)
			}

			run(t, dialect, url, `drop table thing`)
			if s := told(&connectors.Query{Select: joined.Seal(), Bind: [][]connectors.Value{{connectors.Int(1)}, {connectors.Int(7)}}}); s.Failed == "" {
				t.Errorf("a statement that failed: %+v", s)
			}
		})
	}
}
