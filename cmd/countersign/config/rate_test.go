package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/countersign/countersign/cmd/countersign/config"
)

func TestBudgetsAreRead(t *testing.T) {
	file := func(limits, budget string) string {
		return "version: 1\nsources: { a: { connector: sqlite, url: a.db } }\nagents: { triage: { owner: o@x.example, roles: [r], budget: " + budget +
			" } }\nlimits: { \"*\": " + limits + " }\n"
	}
	none := func(string) (string, bool) { return "", false }
	cfg, problems := config.Parse("countersign.yaml", []byte(file("{ requests: 300/min, cost: [1000, 20000/h], rowsRead: 5/day }", "{ cost: 80/s }")), none)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	l := cfg.Limits.Values["*"]
	if l.Requests != (config.Rate{N: 300, Per: time.Minute}) || l.Cost != (config.CostLimit{Operation: 1000, Budget: config.Rate{N: 20000, Per: time.Hour}}) ||
		l.RowsRead != (config.Rate{N: 5, Per: 24 * time.Hour}) {
		t.Errorf("%+v", l)
	}
	if b := cfg.Agents.Values["triage"].Budget; b.Cost != (config.Rate{N: 80, Per: time.Second}) || b.Requests != (config.Rate{}) {
		t.Errorf("%+v", b)
	}
	for _, bad := range []string{"300", "0/min", "-1/min", "1e3/min", "３/min", "300/month", "300 / min", "/s", "99999999999/s"} {
		_, problems := config.Parse("countersign.yaml", []byte(file(`{ requests: "`+bad+`" }`, "{}")), none)
		if len(problems) != 1 || problems[0].Code != "bad_value" || problems[0].Line != 4 || !strings.Contains(problems[0].Message, "limits.*.requests") {
			t.Errorf("%s: %v", bad, problems)
		}
	}
	for _, bad := range []string{"x", "[1000, 5]x", "-4", "1.5"} {
		if _, problems := config.Parse("countersign.yaml", []byte(file(`{ cost: "`+bad+`" }`, "{}")), none); len(problems) != 1 {
			t.Errorf("cost %s: %v", bad, problems)
		}
	}
}
