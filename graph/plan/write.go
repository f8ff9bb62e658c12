package plan

import (
	"slices"
	"strconv"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/graph/catalog"
	"github.com/countersign/countersign/policy"
)

// A Write is what one root mutation field of a source would do.
type Write struct {
	// Index in Plan.Writes. Key is the response key.
	Index int
	Key   string
	// Source, and Object ("source.collection" or "source.function").
	Source string
	Object string
	Kind   connectors.StepKind
	// Collection or Function, by the system's own name.
	Collection string
	Function   string
	// Many: the field writes any number of records (createXs, updateXs).
	Many bool
	// Records are the steps: one, or one per input of createXs.
	Records []WriteRecord
	// MaxRows bounds updateXs and deleteXs; absent operand otherwise.
	MaxRows    connectors.Operand
	HasMaxRows bool
	// MaxRecords the field may write at most, for estimates.
	MaxRecords int
	// IfVersion is the version that the record must have.
	IfVersion    connectors.Operand
	HasIfVersion bool
	// Args are Plan.Args[ArgFrom:ArgTo]; all operands index them.
	ArgFrom, ArgTo int
	Class          connectors.OutcomeClass
	Preview        connectors.PreviewStrategy
	// Review lists the fields that a preview reads beside those written: what
	// names the record, what the policy's conditions looked at, and for a delete
	// all of it.
	Review []string
	// KeyFields are the key's fields by the system's own names.
	KeyFields []string
	// Diff says how a record of it is shown to the caller; nil: not at all.
	Diff *DiffShape
	// Blind: a collision with, or a reference to, another record would tell the
	// caller of what they may not read; a preview does not look for any.
	Blind bool
	// Visible is what a record addressed by key must match to be shown; nil:
	// every one. Records found by a filter match it already.
	Visible *connectors.Condition
	// Atomic: the source does all steps of a change or none.
	Atomic bool
	// Names are the graph's names of fields and arguments, by the system's own,
	// and Input the argument they stand in.
	Names map[string]string
	Input string

	table *argTable
}

// A WriteRecord is one step of a write.
type WriteRecord struct {
	// ID of the step: the response key, with the position where there are more.
	ID  string
	Key []SetOperand
	Set []SetOperand
	// Call are the arguments of a function.
	Call []connectors.ArgOperand
	// Where joins the client's filter with what the view permits.
	Where *connectors.Condition
	// Effect is Denied, Propose (then Direct tells what may be done at once;
	// nil: nothing), or Allow.
	Effect policy.Effect
	// Permit, of a call, is about its arguments; of other writes it is in Where.
	Permit *connectors.Condition
	Direct *connectors.Condition
	Check  *connectors.Condition
	// DirectCheck, of a create that is proposed: a record that also matches it
	// may be made at once.
	DirectCheck *connectors.Condition
	// Lines that decided, for explain.
	Lines []policy.LineRef
	// Presets are the fields whose values the policy gave.
	Presets []string
}

// A SetOperand gives a field a value.
type SetOperand struct {
	Field     string
	Operand   connectors.Operand
	Increment bool
}

// A RawSelection is a selection that somebody else answers.
type RawSelection struct {
	Field *ast.Field
	Set   ast.SelectionSet
}

var writeKinds = map[catalog.ElementKind]struct {
	kind connectors.StepKind
	many bool
}{
	catalog.RootCreate: {connectors.Create, false}, catalog.RootCreateMany: {connectors.Create, true},
	catalog.RootUpdate: {connectors.Update, false}, catalog.RootUpdateMany: {connectors.Update, true},
	catalog.RootDelete: {connectors.Delete, false}, catalog.RootDeleteMany: {connectors.Delete, true},
	catalog.RootCall: {connectors.Call, false},
}

// write plans one root mutation field.
func (b *builder) write(g *group, e catalog.Element) (*Field, *connectors.Error) {
	k, ok := writeKinds[e.Kind]
	if !ok {
		return nil, connectors.Errorf(connectors.CodeUnsupported, "%s is not supported yet", g.first.Name)
	}
	w := &Write{Index: len(b.plan.Writes), Key: g.key, Kind: k.kind, Many: k.many, MaxRecords: 1, table: &argTable{b: b, fits: true}}
	b.plan.Writes = append(b.plan.Writes, w)
	var err *connectors.Error
	if e.Kind == catalog.RootCall {
		err = b.callWrite(w, g, e.Function)
	} else {
		err = b.recordWrite(w, g, e.Collection)
	}
	if err != nil {
		return nil, err
	}
	if err := b.options(g); err != nil {
		return nil, err
	}
	return b.payload(w, g, e)
}

func (b *builder) recordWrite(w *Write, g *group, c *catalog.Collection) *connectors.Error {
	access := b.in.View.Object(c.Object)
	act := c.Act(w.Kind)
	grant := grantOf(access, w.Kind)
	if act == nil || grant == nil {
		return forbidden()
	}
	w.Source, w.Object, w.Collection = c.Source.Name, c.Object, c.Name
	w.Class, w.Preview, w.Atomic = act.Class, act.Preview, c.Source.Schema.Capabilities.Atomic
	w.Names = map[string]string{}
	for _, f := range c.Fields {
		w.Names[f.System] = f.Name
	}
	for _, f := range c.Key {
		w.KeyFields = append(w.KeyFields, f.System)
	}
	inputs, err := b.inputs(g.first)
	if err != nil {
		return err
	}
	if err := b.bounds(w, g, grant); err != nil {
		return err
	}
	record := WriteRecord{ID: w.Key}
	if w.Kind != connectors.Create {
		if err := b.target(w, g, c, access, inputs, &record); err != nil {
			return err
		}
	}
	switch w.Kind {
	case connectors.Create:
		err = b.creates(w, g, c, grant)
	case connectors.Update:
		w.Input = "patch"
		v, bad := b.argument(g.first, "patch", false)
		if bad != nil {
			return bad
		}
		err = b.assigned(w, &record, c, policy.Update, v, []string{"patch"}, grant)
		w.Records = []WriteRecord{record}
	default:
		err = b.decided(w, &record, grant, nil)
		w.Records = []WriteRecord{record}
	}
	if err != nil {
		return err
	}
	b.review(w, c, access)
	return nil
}

func grantOf(a *policy.Access, kind connectors.StepKind) *policy.WriteAccess {
	if a == nil {
		return nil
	}
	switch kind {
	case connectors.Create:
		return a.Create
	case connectors.Update:
		return a.Update
	case connectors.Delete:
		return a.Delete
	}
	return a.Call
}

// bounds reads maxRows and ifVersion.
func (b *builder) bounds(w *Write, g *group, grant *policy.WriteAccess) *connectors.Error {
	limit := b.in.Limits.MaxRows
	if grant.Max > 0 {
		limit = min(limit, grant.Max)
	}
	if w.Many && w.Kind != connectors.Create {
		v, err := b.argument(g.first, "maxRows", false)
		if err != nil {
			return err
		}
		w.HasMaxRows, w.MaxRecords = true, limit
		switch {
		case v == nil:
			w.MaxRows = connectors.Const(connectors.Int(1))
		case v.Kind == ast.Variable:
			w.MaxRows = connectors.Arg(w.table.add(Arg{Kind: ArgOffset, Value: v, Add: limit, At: []string{"maxRows"}}))
		default:
			n, ok := number(literalJSON(v, nil))
			if err := checkNumber(n, ok, "maxRows", limit); err != nil {
				return err
			}
			w.MaxRows = connectors.Const(connectors.Int(int64(n)))
		}
	}
	if v, err := b.argument(g.first, "ifVersion", false); err != nil {
		return err
	} else if v != nil && v.Kind != ast.NullValue {
		w.HasIfVersion = true
		typ := &catalog.Type{TypeRef: connectors.TypeRef{Scalar: connectors.ScalarString}, Leaf: connectors.ScalarString}
		if v.Kind == ast.Variable {
			w.IfVersion = connectors.Arg(w.table.add(Arg{Kind: ArgValue, Value: v, Type: typ, At: []string{"ifVersion"}}))
		} else {
			w.IfVersion = connectors.Const(connectors.String(v.Raw))
		}
	}
	return nil
}

// target says which records an update or delete is about.
func (b *builder) target(w *Write, g *group, c *catalog.Collection, access *policy.Access, inputs map[string]catalog.Input, r *WriteRecord) *connectors.Error {
	if !w.Many {
		key, bad := catalog.KeyOperands(c, inputs, w.table.options())
		if bad != nil {
			return connectors.AsError(bad)
		}
		for _, k := range key {
			r.Key = append(r.Key, SetOperand{Field: k.Field.System, Operand: k.Operand})
		}
		return nil
	}
	v, err := b.argument(g.first, "filter", true)
	if err != nil {
		return err
	}
	o := w.table.options()
	o.NotEmpty = true
	w.table.at = []string{"filter"}
	filter, bad := catalog.FilterCondition(c, catalog.Literal(v), o)
	if bad != nil {
		return below(bad, "filter")
	}
	if everything(filter) {
		return badInput("an empty filter would write every record").At("filter")
	}
	// A filter looks at records the way reading does: nothing is found out by
	// writing what may not be read.
	if access.Read == nil {
		return forbidden()
	}
	r.Where = connectors.And(filter, w.table.bound(access.Read.Row))
	return nil
}

// creates plans the inputs of createX and createXs.
func (b *builder) creates(w *Write, g *group, c *catalog.Collection, grant *policy.WriteAccess) *connectors.Error {
	name := "input"
	if w.Many {
		name = "inputs"
	}
	w.Input = name
	v, err := b.argument(g.first, name, false)
	if err != nil {
		return err
	}
	inputs := []*ast.Value{v}
	if w.Many && v != nil && v.Kind == ast.ListValue {
		inputs = inputs[:0]
		for _, child := range v.Children {
			inputs = append(inputs, child.Value)
		}
	}
	if limit := b.in.Limits.MaxRows; len(inputs) > limit || grant.Max > 0 && len(inputs) > grant.Max {
		return connectors.Errorf(connectors.CodeRowCapExceeded, "%d records may be written at once", min(limit, max(grant.Max, 1))).At(name)
	}
	if len(inputs) == 0 {
		return badInput("there is nothing to create").At(name)
	}
	w.MaxRecords = len(inputs)
	for i, input := range inputs {
		r := WriteRecord{ID: w.Key}
		path := []string{name}
		if w.Many {
			r.ID += "[" + strconv.Itoa(i) + "]"
			path = append(path, strconv.Itoa(i))
		}
		if err := b.assigned(w, &r, c, policy.Create, input, path, grant); err != nil {
			return err
		}
		w.Records = append(w.Records, r)
	}
	return nil
}

// assigned reads the fields given, and decides.
func (b *builder) assigned(w *Write, r *WriteRecord, c *catalog.Collection, act policy.Act, v *ast.Value, path []string, grant *policy.WriteAccess) *connectors.Error {
	w.table.at = path
	given, bad := catalog.RecordInput(c, act, catalog.Literal(v), w.table.options())
	if bad != nil {
		return below(bad, path...)
	}
	var fields []string
	for _, a := range given {
		if !grant.Fields[a.Field.System] {
			return forbidden()
		}
		fields = append(fields, a.Field.System)
		r.Set = append(r.Set, SetOperand{Field: a.Field.System, Operand: a.Operand, Increment: a.Increment})
	}
	if act == policy.Update && len(given) == 0 {
		return badInput("there is nothing to change").At(path...)
	}
	return b.decided(w, r, grant, fields)
}

// decided compiles what the view says of the write into it.
func (b *builder) decided(w *Write, r *WriteRecord, grant *policy.WriteAccess, fields []string) *connectors.Error {
	d, presets, err := w.table.decide(grant, fields)
	if err != nil {
		return err
	}
	for _, p := range presets {
		r.Set = slices.DeleteFunc(r.Set, func(s SetOperand) bool { return s.Field == p.Field })
		r.Set = append(r.Set, SetOperand{Field: p.Field, Operand: p.Operand})
		r.Presets = append(r.Presets, p.Field)
	}
	r.Effect, r.Direct, r.Check, r.Lines = d.Effect, d.Direct, d.Check, d.Lines
	if d.DirectIf != nil && w.Kind == connectors.Create {
		r.DirectCheck = d.DirectIf.Check
	}
	if w.Kind == connectors.Update || w.Kind == connectors.Delete {
		r.Where = connectors.And(r.Where, d.Permit)
	}
	return nil
}

// decide asks the view, and makes its parameters arguments of this table.
func (t *argTable) decide(grant *policy.WriteAccess, fields []string) (policy.Decision, []policy.Preset, *connectors.Error) {
	if grant.Decide == nil {
		return policy.Decision{}, nil, forbidden()
	}
	sorted := slices.Clone(fields)
	slices.Sort(sorted)
	d := grant.Decide(sorted)
	if d == nil {
		return policy.Decision{}, nil, nil
	}
	out := *d
	out.Permit, out.Direct, out.Check = t.bound(d.Permit), t.bound(d.Direct), t.bound(d.Check)
	if d.DirectIf != nil {
		out.DirectIf = &policy.Guarded{Where: t.bound(d.DirectIf.Where), Check: t.bound(d.DirectIf.Check)}
	}
	var presets []policy.Preset
	for _, p := range grant.Presets {
		presets = append(presets, policy.Preset{Field: p.Field, Operand: t.operand(p.Operand)})
	}
	return out, presets, nil
}

// callWrite plans a function that writes.
func (b *builder) callWrite(w *Write, g *group, fn *catalog.Function) *connectors.Error {
	access := b.in.View.Object(fn.Object)
	if access == nil || access.Call == nil || fn.Spec.Act == nil {
		return forbidden()
	}
	w.Source, w.Object, w.Function = fn.Source.Name, fn.Object, fn.Name
	w.Class, w.Preview, w.Atomic = fn.Spec.Act.Class, fn.Spec.Act.Preview, fn.Source.Schema.Capabilities.Atomic
	w.Names, w.Input = map[string]string{}, "input"
	for _, f := range fn.Args {
		w.Names[f.System] = f.Name
	}
	inputs, err := b.inputs(g.first)
	if err != nil {
		return err
	}
	w.table.at = []string{"input"}
	args, bad := catalog.CallArguments(fn, inputs, w.table.options())
	if bad != nil {
		return connectors.AsError(bad)
	}
	r := WriteRecord{ID: w.Key}
	var fields []string
	for _, a := range args {
		if !access.Call.Fields[a.Field.System] {
			return forbidden()
		}
		fields = append(fields, a.Field.System)
		r.Call = append(r.Call, connectors.ArgOperand{Name: a.Field.System, Operand: a.Operand})
	}
	d, presets, err := w.table.decide(access.Call, fields)
	if err != nil {
		return err
	}
	for _, p := range presets {
		r.Call = slices.DeleteFunc(r.Call, func(a connectors.ArgOperand) bool { return a.Name == p.Field })
		r.Call = append(r.Call, connectors.ArgOperand{Name: p.Field, Operand: p.Operand})
		r.Presets = append(r.Presets, p.Field)
	}
	r.Effect, r.Permit, r.Direct, r.Lines = d.Effect, d.Permit, d.Direct, d.Lines
	w.Records = []WriteRecord{r}
	return nil
}
