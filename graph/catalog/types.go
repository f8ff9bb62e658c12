package catalog

import (
	"fmt"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// A resolver makes fields and types of one source.
type resolver struct {
	*builder
	source  *Source
	enums   map[string]*Enum
	objects map[string]*ObjectType
}

// addField appends a field; one whose type the schema does not define is left
// out with a warning.
func (r resolver) addField(to *[]*Field, spec *connectors.Field, object, pinned string, view bool) {
	t := r.resolve(spec.Type)
	if t == nil {
		r.configProblem(ProblemType, "", "%s.%s.%s has a type that its schema does not define; it is left out", r.source.Name, object, spec.Name)
		r.problems[len(r.problems)-1].Warning = true
		return
	}
	name := pinned
	if name == "" {
		name = camel(words(spec.Name))
	}
	*to = append(*to, &Field{Name: name, generated: name, System: spec.Name, Type: t, Spec: spec,
		Secret: looksSecret(spec.Name), Nullable: spec.Nullable || view})
}

func (r resolver) resolve(ref connectors.TypeRef) *Type {
	t := &Type{TypeRef: ref, Leaf: ref.Leaf()}
	r.fieldTypes = append(r.fieldTypes, t)
	switch {
	case ref.Enum != "":
		if t.Values = r.enums[ref.Enum]; t.Values == nil || len(t.Values.Values) == 0 {
			return nil
		}
	case ref.Object != "":
		if t.Members = r.objects[ref.Object]; t.Members == nil || len(t.Members.Spec.Fields) == 0 {
			return nil
		}
	default:
		if !knownScalar(ref.Scalar) {
			return nil
		}
		t.Output, t.Input = string(ref.Scalar), string(ref.Scalar)
	}
	return t
}

// looksSecret tells names that hold secrets by their looks. Such fields are
// covered by no pattern of the policy, only by name.
func looksSecret(name string) bool {
	ws := words(name)
	for i, w := range ws {
		switch w {
		case "password", "passwd", "passphrase", "pwd", "secret", "secrets", "token", "tokens", "iban", "ssn", "cvv", "cvc", "pin", "otp", "totp", "credential", "credentials":
			return true
		case "hash", "key":
			if i > 0 && (ws[i-1] == "pw" || ws[i-1] == "pass" || ws[i-1] == "api" || ws[i-1] == "private" || ws[i-1] == "encryption" || ws[i-1] == "access") {
				return true
			}
		}
		for _, p := range []string{"password", "apikey", "secretkey", "accesstoken", "refreshtoken", "pwhash"} {
			if w == p {
				return true
			}
		}
	}
	return false
}

// nameTypes names the enums and nested objects of a source. One whose name a
// collection or function of the same source has says what it is: REST documents
// describe a record both as a type and, by configuration, as a collection.
func (r resolver) nameTypes(names *Names, taken map[string]bool) {
	for _, spec := range r.source.Schema.Enums {
		e := r.enums[spec.Name]
		e.base = names.typeName(spec.Name, pascal(words(spec.Name)))
		e.Type = r.front(r.source, e.base)
		if taken[e.Type] || taken[e.Type+"Comparison"] {
			e.Type += "Enum"
		}
		for base, n := e.Type, 2; taken[e.Type]; n++ {
			e.Type = fmt.Sprintf("%s%d", base, n)
		}
		taken[e.Type], taken[e.Type+"Comparison"] = true, true
		r.cat.Enums = append(r.cat.Enums, e)
		r.generatedTypes[e.Type] = append(r.generatedTypes[e.Type], e)
	}
	for _, spec := range r.source.Schema.Objects {
		o := r.objects[spec.Name]
		o.base = names.typeName(spec.Name, pascal(words(spec.Name)))
		o.Type = r.front(r.source, o.base)
		if taken[o.Type] || taken[o.Type+"Input"] {
			o.Type += "Object"
		}
		for base, n := o.Type, 2; taken[o.Type]; n++ {
			o.Type = fmt.Sprintf("%s%d", base, n)
		}
		taken[o.Type] = true
		r.cat.Objects = append(r.cat.Objects, o)
		r.generatedTypes[o.Type] = append(r.generatedTypes[o.Type], o)
	}
}

// newEnum names the values of an enum. Two that come to one name are told
// apart by their place.
func newEnum(s *Source, spec *connectors.Enum) *Enum {
	e := &Enum{Source: s, Spec: spec, byName: map[string]string{}, bySystem: map[string]string{}}
	for _, v := range spec.Values {
		base := upper(v)
		name := base
		for n := 2; e.has(name); n++ {
			name = fmt.Sprintf("%s_%d", base, n)
		}
		e.Values = append(e.Values, EnumValue{Name: name, System: v})
		e.byName[name] = v
		e.bySystem[v] = name
	}
	return e
}

func (e *Enum) has(name string) bool { _, ok := e.byName[name]; return ok }

// shows tells whether the type can be read at all: an object without members
// to read cannot.
func (t *Type) shows() bool { return t.Members == nil || t.Members.shown }

func (f *Field) shows() bool { return !f.Spec.WriteOnly && f.Type.shows() }

// gives tells whether a value can be given for the field at all.
func (f *Field) gives() bool {
	return !f.Spec.ReadOnly && (f.Type.Members == nil || f.Type.Members.given)
}

// requires tells whether an input must give the member. An object that must
// hold itself would have no value, so that member is optional.
func (o *ObjectType) requires(f *Field) bool {
	m := f.Type.Members
	return !f.Spec.Nullable && !f.Spec.Default && (m == nil || f.Type.List || !m.reaches(o))
}

// reaches tells whether a value of o must or may hold, without a list between,
// a value of the other.
func (o *ObjectType) reaches(other *ObjectType) bool {
	seen := map[*ObjectType]bool{}
	var walk func(*ObjectType) bool
	walk = func(p *ObjectType) bool {
		if p == other {
			return true
		}
		if seen[p] {
			return false
		}
		seen[p] = true
		for _, f := range p.Fields {
			if f.Type.Members != nil && !f.Type.List && walk(f.Type.Members) {
				return true
			}
		}
		return false
	}
	return walk(o)
}

// finishObjects finds the objects that have members.
func (b *builder) finishObjects() {
	for changed := true; changed; {
		changed = false
		for _, o := range b.cat.Objects {
			for _, f := range o.Fields {
				if !o.shown && f.shows() {
					o.shown, changed = true, true
				}
				if !o.given && f.gives() {
					o.given, changed = true, true
				}
			}
		}
	}
}

// finishTypes gives the types of all fields their names, now that these are
// final. An object that is only an input and says so keeps its name as such.
func (b *builder) finishTypes() {
	for _, c := range b.cat.Collections {
		for _, f := range c.Fields {
			f.Type.Members.use(true)
			f.Type.Members.use(false)
		}
	}
	for _, f := range b.cat.Functions {
		if f.Result != nil {
			f.Result.Members.use(true)
		}
		for _, a := range f.Args {
			a.Type.Members.use(false)
		}
	}
	for _, o := range b.cat.Objects {
		o.Input = o.Type + "Input"
		if !o.output && strings.HasSuffix(o.base, "Input") {
			o.Input = o.Type
		}
		b.uniqueFields(o.Fields, o.fields, o.Source.Name+"."+o.Spec.Name, o.Type)
	}
	for _, t := range b.fieldTypes {
		switch {
		case t.Values != nil:
			t.Output, t.Input = t.Values.Type, t.Values.Type
		case t.Members != nil:
			t.Output, t.Input = t.Members.Type, t.Members.Input
		}
	}
}

// use marks an object, and what it holds, as part of outputs or of inputs.
func (o *ObjectType) use(output bool) {
	if o == nil || output && o.output || !output && o.input {
		return
	}
	if output {
		o.output = true
	} else {
		o.input = true
	}
	for _, f := range o.Fields {
		f.Type.Members.use(output)
	}
}
