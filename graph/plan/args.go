package plan

import (
	"strings"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
)

// An ArgKind says where the value of an argument comes from.
type ArgKind uint8

// The kinds of arguments.
const (
	ArgValue  ArgKind = iota // variables of the request, at the leaves of Value
	ArgParam                 // a claim or the like: View.Params[Param]
	ArgPage                  // the size of a page: first or last, and Add
	ArgOffset                // offset
	ArgCursor                // one value of a cursor
	ArgNode                  // one value of the key in a global id
)

// An Arg is where one value of a plan comes from when it is executed.
type Arg struct {
	Kind ArgKind
	// Value is the literal as written, with a variable in it. The name of a
	// variable may lead into one of the request: "f.id.eq".
	Value *ast.Value
	Type  *catalog.Type
	List  bool
	// Fits: the value is written to a field and must not be rounded, truncated
	// or padded.
	Fits bool
	// Param of ArgParam.
	Param int
	// Add is added to a page's size.
	Add int
	// Term of ArgCursor, and the page it continues.
	Term   int
	Cursor *Cursor
	// At leads to the input, for errors.
	At []string
}

// argTable collects the arguments of one step or write.
type argTable struct {
	b      *builder
	args   []Arg
	params map[int]int // view parameter -> argument
	at     []string
	fits   bool
}

func (t *argTable) add(a Arg) int {
	t.args = append(t.args, a)
	return len(t.args) - 1
}

// Operand implements catalog.Variables.
func (t *argTable) Operand(value *ast.Value, typ *catalog.Type, list bool) (connectors.Operand, error) {
	at := t.at
	if value.Kind == ast.Variable {
		at = []string{"$" + value.Raw}
	}
	return connectors.Arg(t.add(Arg{Kind: ArgValue, Value: value, Type: typ, List: list, Fits: t.fits, At: at})), nil
}

// Value implements catalog.Variables. Structures were expanded before, so only
// a variable of the wrong type gets here.
func (t *argTable) Value(name string) (any, bool) {
	return lookup(t.b.in.Operation, t.b.in.Variables, name)
}

// param is the operand of a parameter of the view.
func (t *argTable) param(i int) connectors.Operand {
	if at, ok := t.params[i]; ok {
		return connectors.Arg(at)
	}
	if t.params == nil {
		t.params = map[int]int{}
	}
	at := t.add(Arg{Kind: ArgParam, Param: i})
	t.params[i] = at
	return connectors.Arg(at)
}

func (t *argTable) operand(o connectors.Operand) connectors.Operand {
	if o.Arg == 0 {
		return o
	}
	return t.param(o.Arg - 1)
}

// bound is a condition of the view with its parameters as arguments of this
// table. Parameters of related records' conditions are of the view too.
func (t *argTable) bound(c *connectors.Condition) *connectors.Condition {
	if c == nil {
		return nil
	}
	out := *c
	out.Operand = t.operand(c.Operand)
	out.Inner = t.bound(c.Inner)
	if len(c.Items) > 0 {
		out.Items = make([]*connectors.Condition, len(c.Items))
		for i, item := range c.Items {
			out.Items[i] = t.bound(item)
		}
	}
	if c.Relation != nil {
		r := *c.Relation
		r.Where = t.bound(r.Where)
		out.Relation = &r
	}
	return &out
}

// options are how the catalog reads inputs of this table.
func (t *argTable) options() catalog.InputOptions {
	return catalog.InputOptions{Variables: t, View: t.b.in.View, Related: t.related}
}

// related is the caller's row condition on the records a filter or order
// reaches: what may not be read is not there.
func (t *argTable) related(r *catalog.Relation) *connectors.Condition {
	access := t.b.in.View.Object(r.To.Object)
	if access == nil || access.Read == nil {
		return connectors.Nothing()
	}
	return t.bound(access.Read.Row)
}

// below is an error of the catalog about an argument, with the argument's path
// before the one inside of it.
func below(bad error, argument ...string) *connectors.Error {
	err := *connectors.AsError(bad)
	if len(err.Path) > 0 && strings.HasPrefix(err.Path[0], "$") {
		return &err
	}
	err.Path = append(append([]string(nil), argument...), err.Path...)
	return &err
}
