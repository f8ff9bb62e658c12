package policy_test

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

var update = flag.Bool("update", false, "write what the cases answer into their files")

// The clock of all tests.
var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// TestGolden runs testdata/*.txtar: a schema, the files of a policy, and in "ask"
// one question a line. "want" holds the problems of loading and the answers.
//
//	as NAME KIND ROLES [claim=value ...] [for NAME]
//	view NAME [OBJECT]
//	decide NAME OBJECT ACT [FIELD ...]      as the view has it
//	bound NAME OBJECT ACT [FIELD ...]       after missing claims were denied
//	rows NAME OBJECT                        the row condition, the same way
//	explain NAME OBJECT ACT [FIELD]
//	masking NAME OBJECT FIELD
//	who-can ACT OBJECT
//	route NAME OBJECT ACT [input=a:1,b:x] [before=a:1;a:2] [after=...] [records=N]
//	may-approve NAME OBJECT a:1,b:x [FIELD ...]
//	validate NAME OBJECT ACT [input=a:1,b:x%20y] [increment=a:1] [key=id:1] [presets=a,b]
//	recheck the same, with the checks of the last validate
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d cases, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			archive := txtar.Parse(raw)
			got := runCase(t, archive)
			for i := range archive.Files {
				if archive.Files[i].Name != "want" {
					continue
				}
				if want := string(archive.Files[i].Data); want != got && !*update {
					t.Errorf("got:\n%s\nwant:\n%s", got, want)
				}
				archive.Files[i].Data = []byte(got)
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

const defaultSchema = `
crm.customers read create update delete: id:ID name email phone region status iban! updatedBy orders=crm.orders[]
crm.orders read create update delete: id:ID total:Decimal region status customer=crm.customers
crm.orders_archive read: id:ID region customer=crm.customers
crm.notes read create update delete: id:ID author body
crm.employees read create update delete: id:ID name salary:Decimal
desk.tickets read create update: id:ID status tags priority:Int
stripe.charges read: id:ID amount:Int
stripe.PostRefunds call: charge amount:Int token!
stripe.GetBalance reads: account
`

type golden struct {
	t      *testing.T
	engine *policy.Engine
	who    map[string]*policy.Principal
	checks []policy.Check
	out    strings.Builder
}

func runCase(t *testing.T, archive *txtar.Archive) string {
	g := &golden{t: t, who: map[string]*policy.Principal{}}
	schema, ask := defaultSchema, ""
	var opts policy.Options
	var files []policy.File
	for _, f := range archive.Files {
		switch f.Name {
		case "schema":
			schema = string(f.Data)
		case "ask":
			ask = string(f.Data)
		case "roles":
			opts.Roles = strings.Fields(string(f.Data))
		case "agents":
			opts.Agents = strings.Fields(string(f.Data))
		case "environment":
			values := map[string]string{}
			for _, line := range strings.Split(string(f.Data), "\n") {
				name, value, _ := strings.Cut(line, "=")
				values["${"+name+"}"] = value
			}
			opts.Expand = func(text string) (string, error) {
				if v, ok := values[text]; ok {
					return v, nil
				}
				return "", fmt.Errorf("%s is not set", text)
			}
		case "want":
		default:
			files = append(files, policy.File{Name: f.Name, Data: f.Data})
		}
	}
	var problems []policy.Problem
	g.engine, problems = policy.Load(files, declare(schema), opts)
	for _, p := range problems {
		fmt.Fprintf(&g.out, "%s [%s]\n", p, p.Code)
	}
	if (g.engine == nil) != policy.Errors(problems) {
		t.Fatalf("an engine where there are errors, or none where there are none: %v", problems)
	}
	for _, line := range strings.Split(ask, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !strings.HasPrefix(line, "as ") {
			fmt.Fprintf(&g.out, "> %s\n", line)
		}
		if g.engine == nil {
			fmt.Fprintln(&g.out, "no engine")
			break
		}
		g.ask(strings.Fields(line))
	}
	return g.out.String()
}

func (g *golden) ask(w []string) {
	switch w[0] {
	case "as":
		g.as(w[1:])
	case "view":
		v := g.engine.View(g.who[w[1]])
		if len(w) > 2 {
			v = &policy.View{Objects: map[string]*policy.Access{w[2]: v.Object(w[2])}, Params: v.Params}
			if v.Objects[w[2]] == nil {
				g.out.WriteString("none\n")
				return
			}
		}
		g.out.WriteString(viewText(v))
	case "decide", "bound":
		v := g.engine.View(g.who[w[1]])
		access := actOf(v.Object(w[2]), w[3])
		if access == nil {
			g.out.WriteString("none\n")
			return
		}
		d := *access.Decide(system(w[4:]))
		if w[0] == "bound" {
			_, missing := v.Bind(g.who[w[1]], noon)
			d.Permit, d.Direct, d.Check = policy.DenyMissing(d.Permit, missing), policy.DenyMissing(d.Direct, missing), policy.DenyMissing(d.Check, missing)
			if d.DirectIf != nil {
				d.DirectIf = &policy.Guarded{Where: policy.DenyMissing(d.DirectIf.Where, missing), Check: policy.DenyMissing(d.DirectIf.Check, missing)}
			}
		}
		g.out.WriteString(decisionText(&d, v.Params) + "\n")
	case "rows":
		v := g.engine.View(g.who[w[1]])
		_, missing := v.Bind(g.who[w[1]], noon)
		g.out.WriteString(conditionText(policy.DenyMissing(v.Object(w[2]).Read.Row, missing), v.Params) + "\n")
	case "explain":
		field := ""
		if len(w) > 4 {
			field = "s_" + w[4]
		}
		for _, l := range g.engine.View(g.who[w[1]]).Explain(w[2], policy.Act(w[3]), field) {
			fmt.Fprintf(&g.out, "%s:%d %s\n", l.File, l.Line, l.Text)
		}
	case "masking":
		for _, m := range g.engine.View(g.who[w[1]]).Masking(w[2], "s_"+w[3]) {
			fmt.Fprintf(&g.out, "%s %s:%d\n", m.Mask, m.Line.File, m.Line.Line)
		}
	case "who-can":
		can, err := g.engine.WhoCan(policy.Act(w[1]), w[2])
		if err != nil {
			g.t.Fatal(err)
		}
		for _, c := range can {
			fmt.Fprintf(&g.out, "%s %s %s conditional=%v line %d\n", c.Role, c.Effect, c.Field, c.Conditional, c.Line.Line)
		}
	case "route":
		g.route(w[1:])
	case "may-approve":
		p := g.who[w[1]]
		v := g.engine.View(p)
		params, missing := v.Bind(p, noon)
		record := objectValue(w[3], "s_")
		fmt.Fprintln(&g.out, v.MayApprove(w[2], system(w[4:]), record, params, missing))
	case "validate", "recheck":
		g.validate(w[0] == "recheck", w[1:])
	default:
		g.t.Fatalf("no question %q", w[0])
	}
}

func (g *golden) as(w []string) {
	p := &policy.Principal{ID: w[0], Name: w[0], Kind: policy.PrincipalKind(w[1]), Tenant: "default", Claims: map[string]connectors.Value{}}
	if _, name, ok := strings.Cut(w[0], ":"); ok {
		p.Name = name
	}
	if w[2] != "-" {
		p.Roles = strings.Split(w[2], ",")
	}
	for i := 3; i < len(w); i++ {
		if w[i] == "for" {
			p.For = g.who[w[i+1]]
			break
		}
		name, value, _ := strings.Cut(w[i], "=")
		p.Claims[name] = scalarValue(value)
	}
	g.who[w[0]] = p
}

func (g *golden) route(w []string) {
	c := policy.ChangeFacts{Principal: g.who[w[0]], Object: w[1], Act: policy.Act(w[2]), Records: 1, Input: connectors.ObjectOf()}
	for _, part := range w[3:] {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "input":
			c.Input = objectValue(value, "")
		case "before", "after":
			var records []connectors.Value
			for _, r := range strings.Split(value, ";") {
				records = append(records, objectValue(r, ""))
			}
			if name == "before" {
				c.Before = records
			} else {
				c.After = records
			}
		case "records":
			c.Records, _ = strconv.Atoi(value)
		}
	}
	r, err := g.engine.Route(c)
	if err != nil {
		fmt.Fprintln(&g.out, err)
		return
	}
	g.out.WriteString(routingText(r) + "\n")
}

func (g *golden) validate(again bool, w []string) {
	in := &policy.Writing{Object: w[1], Principal: g.who[w[0]], Now: noon, Step: &connectors.Step{Kind: connectors.StepKind(w[2])}}
	for _, part := range w[3:] {
		name, text, _ := strings.Cut(part, "=")
		text, err := url.PathUnescape(text)
		if err != nil {
			g.t.Fatal(err)
		}
		values := objectValue(text, "s_")
		switch {
		case name == "presets":
			in.Presets = system(strings.Split(text, ","))
		case name == "input" && in.Step.Kind == connectors.Call:
			in.Step.Args = values
		default:
			for _, m := range values.Members {
				a := connectors.Assign{Field: m.Name, Value: m.Value, Increment: name == "increment"}
				if name == "key" {
					in.Step.Key = append(in.Step.Key, a)
				} else {
					in.Step.Set = append(in.Step.Set, a)
				}
			}
		}
	}
	if again {
		fmt.Fprintln(&g.out, "rechecked:", g.engine.Recheck(in, g.checks))
		return
	}
	var errs []*connectors.Error
	g.checks, errs = g.engine.Validate(in)
	for _, c := range g.checks {
		fmt.Fprintf(&g.out, "%s %s", c.Validator, c.Verdict)
		if c.Role != "" {
			fmt.Fprintf(&g.out, " by %s", c.Role)
		}
		if c.Say != "" {
			fmt.Fprintf(&g.out, " saying %q", c.Say)
		}
		if len(c.Set) > 0 {
			fmt.Fprintf(&g.out, " set %v", c.Set)
		}
		g.out.WriteString("\n")
	}
	for _, err := range errs {
		fmt.Fprintf(&g.out, "%v at %v because %v: %v\n", err, err.Path, err.Because, err.Cause)
	}
	for _, m := range in.Step.Args.Members {
		fmt.Fprintf(&g.out, "%s = %s %q\n", m.Name, m.Value.Kind, m.Value.Text)
	}
	for _, a := range in.Step.Set {
		fmt.Fprintf(&g.out, "%s = %s %q increment=%v\n", a.Field, a.Value.Kind, a.Value.Text, a.Increment)
	}
}

func routingText(r policy.Routing) string {
	out := r.Then
	if r.Rule != "" {
		out += " by " + r.Rule
	}
	if r.Say != "" {
		out += fmt.Sprintf(" saying %q", r.Say)
	}
	for _, s := range r.Seats {
		out += " " + seatText(s)
	}
	out += fmt.Sprintf(" veto %d expire %s", r.Veto, r.Expire)
	return out
}

func seatText(s policy.Seat) string {
	if !s.Confirm {
		return fmt.Sprintf("%d×%s", s.Count, s.Role)
	}
	out := "confirm"
	for _, e := range s.Else {
		out += "/else " + seatText(e)
	}
	return out
}

func actOf(a *policy.Access, act string) *policy.WriteAccess {
	if a == nil {
		return nil
	}
	return map[string]*policy.WriteAccess{"create": a.Create, "update": a.Update, "delete": a.Delete, "call": a.Call, "approve": a.Approve}[act]
}

func system(fields []string) []string {
	out := make([]string, 0, len(fields))
	for _, f := range fields {
		out = append(out, "s_"+f)
	}
	return out
}

func objectValue(text, prefix string) connectors.Value {
	var members []connectors.Member
	for _, part := range strings.Split(text, ",") {
		if name, value, ok := strings.Cut(part, ":"); ok {
			members = append(members, connectors.Member{Name: prefix + name, Value: scalarValue(value)})
		}
	}
	return connectors.ObjectOf(members...)
}

func scalarValue(text string) connectors.Value {
	if text == "null" {
		return connectors.Null
	}
	if text == "true" || text == "false" {
		return connectors.Bool(text == "true")
	}
	if _, err := strconv.Atoi(text); err == nil {
		return connectors.Value{Kind: connectors.KindInt, Text: text}
	}
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		return connectors.Decimal(text)
	}
	return connectors.String(text)
}
