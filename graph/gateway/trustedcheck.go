package gateway

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// A Sender is somebody who may send trusted documents, as far as is known
// without a request: a role, or an agent with its roles.
type Sender struct {
	// Name is what messages call it: "role support", "agent triage".
	Name      string
	Principal *policy.Principal
	Limits    Limits
	// Must are the documents that are meant for this one: each has to fit.
	Must []string
}

// Check compares every document with the schemas and limits of who may send it,
// and answers which of them can, by document. A document that does not fit who
// it is meant for is a problem, and so is one that fits nobody.
func (t *Trusted) Check(s *Snapshot, senders []Sender) (may map[string][]string, problems []policy.Problem) {
	may = map[string][]string{}
	closest := map[string]misfit{}
	for _, sender := range senders {
		schema, err := s.Catalog.Schema(s.Policy.View(sender.Principal))
		if err != nil {
			return may, []policy.Problem{{Code: "internal", Message: connectors.AsError(err).Message}}
		}
		for _, d := range t.List() {
			if !t.may(sender.Principal, d) {
				continue
			}
			found := d.against(schema, sender.Limits)
			if len(found) == 0 {
				may[d.Name] = append(may[d.Name], sender.Name)
				continue
			}
			if slices.Contains(sender.Must, d.Name) {
				problems = append(problems, d.problems(sender.Name, found)...)
			}
			if best, ok := closest[d.Name]; !ok || len(found) < len(best.found) {
				closest[d.Name] = misfit{sender.Name, found}
			}
		}
	}
	for _, d := range t.List() {
		if len(may[d.Name]) == 0 && !slices.ContainsFunc(senders, func(s Sender) bool { return slices.Contains(s.Must, d.Name) }) {
			if m, ok := closest[d.Name]; ok {
				problems = append(problems, d.problems("nobody may send it: "+m.sender, m.found)...)
			}
		}
	}
	return may, problems
}

// A misfit is why a sender cannot send a document.
type misfit struct {
	sender string
	found  []Error
}

// against validates a document as somebody with this schema would send it. Names
// are suggested: whoever checks may know all of them.
func (d *TrustedDocument) against(schema *ast.Schema, lim Limits) []Error {
	query, err := parser.ParseQuery(&ast.Source{Input: d.padded, Name: d.File})
	if err != nil {
		return syntaxErrors(err) // a part of a document that was parsed
	}
	if list := validator.ValidateWithRules(schema, query, rules.NewDefaultRules()); len(list) > 0 {
		return validationErrors(list)
	}
	for _, def := range query.Operations {
		op := &operation{def: def}
		if errs := op.measure(query, lim); errs != nil {
			return at(errs, def.Position)
		}
	}
	if n := tokens(d.Text); n > lim.Tokens {
		return at(refuse(connectors.CodeCostExceeded, "the document has %d tokens; at most %d are allowed", n, lim.Tokens), query.Operations[0].Position)
	}
	return nil
}

func at(errs []Error, where *ast.Position) []Error {
	for i := range errs {
		errs[i].Locations = []gqlerror.Location{{Line: where.Line, Column: where.Column}}
	}
	return errs
}

func (d *TrustedDocument) problems(who string, found []Error) []policy.Problem {
	out := make([]policy.Problem, len(found))
	for i, e := range found {
		out[i] = policy.Problem{File: d.File, Line: d.Line, Code: "operation", Message: fmt.Sprintf("%s: %s: %s", d.Name, who, e.Message)}
		if cut := strings.Index(out[i].Message, " Did you mean"); cut >= 0 {
			out[i].Message, out[i].Hint = strings.TrimSuffix(out[i].Message[:cut], "."), out[i].Message[cut+1:]
		}
		if len(e.Locations) > 0 {
			out[i].Line, out[i].Column = e.Locations[0].Line, e.Locations[0].Column
		}
	}
	return out
}
