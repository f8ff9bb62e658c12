package gateway_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/proposals"
)

var update = flag.Bool("update", false, "write the golden files anew")

// A case is a txtar file: steps in the world of testdata/world.txtar, in order.
//
//	ask WHO        an operation; variables and extensions may follow it
//	approve WHO    the newest proposal is approved, and waited for
//	policy         lines put before those of the world, from then on
//	drop           lines of the policy that are taken out
//	schema         a line of the pinned schema is another one: BEFORE => AFTER
//	swap SOURCE    another system stands behind it
//	answer         what came of the step before
func TestCases(t *testing.T) { connectortest.Golden(t, "testdata/cases/*.txtar", *update, runCase) }

func runCase(t *testing.T, a *txtar.Archive) *txtar.Archive {
	w := newWorld(t)
	got := &txtar.Archive{Comment: a.Comment}
	for i := 0; i < len(a.Files); i++ {
		if a.Files[i].Name == "answer" {
			continue
		}
		step, rest := a.Files[i], map[string]string{}
		got.Files = append(got.Files, step)
		for i+1 < len(a.Files) && (a.Files[i+1].Name == "variables" || a.Files[i+1].Name == "extensions") {
			i++
			rest[a.Files[i].Name] = string(a.Files[i].Data)
			got.Files = append(got.Files, a.Files[i])
		}
		text := w.step(step, rest)
		if text == "" {
			continue
		}
		got.Files = append(got.Files, txtar.File{Name: "answer", Data: []byte(text)})
	}
	return got
}

// step does one step and tells what came of it.
func (w *world) step(f txtar.File, rest map[string]string) string {
	w.t.Helper()
	verb, who, _ := strings.Cut(f.Name, " ")
	body := string(f.Data)
	switch verb {
	case "ask":
		return w.text(w.ask(who, body, rest["variables"], rest["extensions"]))
	case "approve":
		if err := w.approve(who); err != nil {
			e := connectors.AsError(err)
			return string(e.Code) + ": " + e.Message + "\n"
		}
		p := w.settled()
		return strings.TrimRight(string(p.State)+" "+p.ReasonCode+": "+p.Say, ": ") + "\n"
	case "policy":
		w.reload(func(files map[string]string) { files["policy.csv"] = body + files["policy.csv"] })
	case "drop":
		w.reload(func(files map[string]string) {
			for line := range strings.Lines(body) {
				if !strings.Contains(files["policy.csv"], line) {
					w.t.Fatalf("there is no line %s", line)
				}
				files["policy.csv"] = strings.ReplaceAll(files["policy.csv"], line, "")
			}
		})
	case "schema":
		before, after, _ := strings.Cut(strings.TrimRight(body, "\n"), " => ")
		w.reload(func(files map[string]string) {
			if !strings.Contains(files["schema"], before) {
				w.t.Fatalf("the schema has no line %q", before)
			}
			files["schema"] = strings.Replace(files["schema"], before, "  "+after, 1)
		})
	case "swap":
		w.systems.swap(who, "system:other")
	default:
		w.t.Fatalf("there is no step %s", f.Name)
	}
	return ""
}

var (
	hexes  = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	stamps = regexp.MustCompile(`"20\d\d-\d\d-\d\dT[^"]*"`)
)

// text is an answer to be read: what differs from run to run is left out.
func (w *world) text(a answer) string {
	w.t.Helper()
	var b bytes.Buffer
	if a.data != "" {
		if err := json.Indent(&b, []byte(a.data), "", "  "); err != nil {
			w.t.Fatalf("the answer is no JSON: %v\n%s", err, a.data)
		}
		b.WriteByte('\n')
	}
	for i := range a.errors {
		b.WriteString(errorLine(&a.errors[i]))
	}
	out := b.String()
	for n, p := range w.handles() {
		out = strings.ReplaceAll(out, p, "<proposal "+string(rune('1'+n))+">")
	}
	return stamps.ReplaceAllString(hexes.ReplaceAllString(out, "<hash>"), `"<time>"`)
}

func errorLine(e *gateway.Error) string {
	out := "error " + string(e.Code)
	if p := e.Path.String(); p != "" {
		out += " at " + p
	}
	if len(e.Input) > 0 {
		out += " input " + strings.Join(e.Input, ".")
	}
	if e.Source != "" {
		out += " from " + e.Source
	}
	if e.PolicyFinal {
		out += " final"
	}
	return out + ": " + e.Message + "\n"
}

// handles are those of all proposals, oldest first.
func (w *world) handles() []string {
	w.t.Helper()
	heads, err := w.store.List(w.t.Context(), proposals.Filter{Tenant: policy.DefaultTenant, Limit: 9})
	if err != nil {
		w.t.Fatal(err)
	}
	out := make([]string, len(heads))
	for i, p := range heads {
		out[len(heads)-1-i] = p.Handle
	}
	return out
}
