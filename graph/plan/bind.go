package plan

import (
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
)

// Bindings are the values of one request.
type Bindings struct {
	// Operation as validated, for the defaults of variables.
	Operation *ast.OperationDefinition
	Variables map[string]any
	// Params are the values of View.Params, and Missing marks those that the
	// principal has none for: both as View.Bind answers them.
	Params  []connectors.Value
	Missing []bool
	Tenant  string
	// Authority and Version (of the catalog) are part of every cache key.
	Authority string
	Version   string
	Sealer    Sealer
	// Admit is asked once the values are known and the plan's own limits held,
	// before any source is: the estimated cost, and how many records may be
	// written. nil: everything is admitted.
	Admit func(cost, written int) *connectors.Error
	// Rows, Bytes and Timeout bound this operation; zero: the executor's own.
	Rows, Bytes int
	Timeout     time.Duration
	// Validators look at writes before anything is done with them: those of the
	// policy that the plan was made under, for who asks, at the time of now. nil:
	// there are none.
	Validators *policy.Engine
	Principal  *policy.Principal
	Now        time.Time
}

// Values are a plan's arguments, bound. The zero Values may be bound to;
// binding again reuses its memory.
type Values struct {
	// All are parallel to Plan.Args.
	All []connectors.Value
	// selects replace those of steps for which a parameter is missing; empty
	// where none is.
	selects []*connectors.Select
	rows    []int
}

// Select is the step's select for this request.
func (v *Values) Select(s *Step) *connectors.Select {
	if len(v.selects) > 0 && v.selects[s.ID] != nil {
		return v.selects[s.ID]
	}
	return s.Select
}

// Step is the values of a step's arguments.
func (v *Values) Step(s *Step) []connectors.Value { return v.All[s.ArgFrom:s.ArgTo:s.ArgTo] }

// PageSize is the number of records on a page of the step.
func (v *Values) PageSize(s *Step) int {
	p := s.Page
	if p.Size < 0 {
		return p.Fixed
	}
	n, _ := v.All[s.ArgFrom+p.Size].Int64()
	if p.More {
		n--
	}
	return int(n)
}

// Bind reads the values that the plan's arguments take in this request, and
// refuses what is too expensive. Errors are BAD_INPUT, VALIDATION_FAILED or
// COST_EXCEEDED, with the path of the input at fault.
func (p *Plan) Bind(in *Bindings, out *Values) *connectors.Error {
	out.All = grow(out.All, len(p.Args))
	out.selects = out.selects[:0]
	for _, s := range p.Steps {
		if err := p.bind(in, s.ArgFrom, s.ArgTo, out.All); err != nil {
			return atStep(err, s.Path)
		}
		if missing := p.Missing(in, s.ArgFrom, s.ArgTo); missing != nil {
			if len(out.selects) == 0 {
				out.selects = make([]*connectors.Select, len(p.Steps))
			}
			out.selects[s.ID] = denied(s, missing)
		}
	}
	for _, w := range p.Writes {
		if err := p.bind(in, w.ArgFrom, w.ArgTo, out.All); err != nil {
			return at(err, w.Key)
		}
	}
	if err := p.checkCost(out); err != nil || in.Admit == nil {
		return err
	}
	return in.Admit(p.Cost(out), p.maxWritten(out))
}

// grow is s with length n and zero elements.
func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	s = s[:n]
	clear(s)
	return s
}

func atStep(err *connectors.Error, path []string) *connectors.Error {
	out := *err
	out.Path = append(append([]string(nil), path...), err.Path...)
	return &out
}

// bind computes args[from:to] into all.
func (p *Plan) bind(in *Bindings, from, to int, all []connectors.Value) (err *connectors.Error) {
	mine := all[from:to]
	var cursor []connectors.Value
	for i := range mine {
		a := &p.Args[from+i]
		switch a.Kind {
		case ArgParam:
			mine[i] = connectors.Null
			if a.Param < len(in.Params) {
				mine[i] = in.Params[a.Param]
			}
		case ArgValue:
			mine[i], err = coerce(in, a)
		case ArgPage:
			mine[i], err = p.pageSize(in, a)
		case ArgOffset:
			mine[i], err = count(in, a, a.At[0], a.Add)
		case ArgCursor:
			if a.Term == 0 {
				cursor, err = p.cursor(in, a, mine)
			}
			if err == nil {
				mine[i] = cursor[a.Term]
			}
		case ArgNode:
			mine[i], err = nodeKey(in, a)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func raw(in *Bindings, v *ast.Value) any {
	if v.Kind == ast.Variable {
		value, _ := lookup(in.Operation, in.Variables, v.Raw)
		return value
	}
	return literalJSON(v, func(name string) (any, bool) { return lookup(in.Operation, in.Variables, name) })
}

func coerce(in *Bindings, a *Arg) (connectors.Value, *connectors.Error) {
	v, bad := catalog.CoerceVariable(raw(in, a.Value), a.Type, a.List)
	if bad == nil && a.Fits {
		bad = catalog.CheckFits(v, a.Type)
	}
	if bad != nil {
		err := *connectors.AsError(bad)
		if len(err.Path) == 0 {
			err.Path = a.At
		}
		return connectors.Value{}, &err
	}
	return v, nil
}

func count(in *Bindings, a *Arg, name string, limit int) (connectors.Value, *connectors.Error) {
	n, ok := number(raw(in, a.Value))
	if err := checkNumber(n, ok, name, limit); err != nil {
		return connectors.Value{}, err
	}
	return connectors.Int(int64(n)), nil
}

func (p *Plan) pageSize(in *Bindings, a *Arg) (connectors.Value, *connectors.Error) {
	n, ok := number(raw(in, a.Value))
	if err := checkNumber(n, ok, a.At[0], p.maxPage); err != nil {
		return connectors.Value{}, err
	}
	return connectors.Int(int64(n + a.Add)), nil
}

// cursor opens a cursor. Arguments of the filter stand before those of the
// page, so they are bound already.
func (p *Plan) cursor(in *Bindings, a *Arg, bound []connectors.Value) ([]connectors.Value, *connectors.Error) {
	text, _ := raw(in, a.Value).(string)
	values, err := openCursor(in.Sealer, text, a.Cursor.Scope(bound), len(a.Cursor.Scalars))
	if err != nil {
		return nil, badInput("the cursor is not one of this list, order and filter").At(a.At...)
	}
	return values, nil
}

func nodeKey(in *Bindings, a *Arg) (connectors.Value, *connectors.Error) {
	text, _ := raw(in, a.Value).(string)
	_, key, err := openNode(in.Sealer, text)
	if err != nil || a.Term >= len(key) {
		return connectors.Value{}, badInput("this is no id").At(a.At...)
	}
	return key[a.Term], nil
}
