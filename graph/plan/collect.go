package plan

import (
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
)

// A group is the fields of one response key of one object, merged as GraphQL
// says: the first decides name and arguments, the sub-selections are joined.
type group struct {
	key   string
	first *ast.Field
	sets  []ast.SelectionSet
}

// collect merges the selections that apply to an object of the type, in the
// order of their first appearance.
func (b *builder) collect(typeName string, sets ...ast.SelectionSet) ([]*group, *connectors.Error) {
	c := collector{b: b, typeName: typeName, index: map[string]*group{}}
	for _, set := range sets {
		if err := c.add(set, 0); err != nil {
			return nil, err
		}
	}
	return c.groups, nil
}

type collector struct {
	b        *builder
	typeName string
	groups   []*group
	index    map[string]*group
}

func (c *collector) add(set ast.SelectionSet, depth int) *connectors.Error {
	if depth > maxFragmentDepth {
		return connectors.Errorf(connectors.CodeDepthExceeded, "fragments are nested too deeply")
	}
	for _, sel := range set {
		switch s := sel.(type) {
		case *ast.Field:
			if skip, err := c.b.skipped(s.Directives); skip || err != nil {
				if err != nil {
					return err
				}
				continue
			}
			c.field(s)
		case *ast.InlineFragment:
			if skip, err := c.b.skipped(s.Directives); skip || err != nil {
				if err != nil {
					return err
				}
				continue
			}
			if c.applies(s.TypeCondition) {
				if err := c.add(s.SelectionSet, depth+1); err != nil {
					return err
				}
			}
		case *ast.FragmentSpread:
			if skip, err := c.b.skipped(s.Directives); skip || err != nil {
				if err != nil {
					return err
				}
				continue
			}
			if s.Definition != nil && c.applies(s.Definition.TypeCondition) {
				if err := c.add(s.Definition.SelectionSet, depth+1); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *collector) field(f *ast.Field) {
	key := f.Alias
	if key == "" {
		key = f.Name
	}
	g := c.index[key]
	if g == nil {
		g = &group{key: key, first: f}
		c.index[key] = g
		c.groups = append(c.groups, g)
	}
	if len(f.SelectionSet) > 0 {
		g.sets = append(g.sets, f.SelectionSet)
	}
}

// applies tells whether a fragment on the condition concerns the object type.
func (c *collector) applies(condition string) bool {
	if condition == "" || condition == c.typeName {
		return true
	}
	def := c.b.in.Schema.Types[c.typeName]
	if def == nil {
		return false
	}
	for _, name := range def.Interfaces {
		if name == condition {
			return true
		}
	}
	return false
}

// skipped evaluates @skip and @include.
func (b *builder) skipped(list ast.DirectiveList) (bool, *connectors.Error) {
	for _, d := range list {
		if d.Name != "skip" && d.Name != "include" {
			continue
		}
		arg := d.Arguments.ForName("if")
		if arg == nil {
			continue
		}
		on, err := b.condition(d.Name, arg.Value)
		if err != nil {
			return false, err
		}
		if on == (d.Name == "skip") {
			return true, nil
		}
	}
	return false, nil
}

func (b *builder) condition(directive string, v *ast.Value) (bool, *connectors.Error) {
	if v.Kind == ast.Variable {
		given, ok := b.variable(v.Raw)
		on, isBool := given.(bool)
		if !ok || !isBool {
			return false, badInput("the variable $%s of @%s must be true or false", v.Raw, directive).At("$" + v.Raw)
		}
		return on, nil
	}
	return v.Raw == "true", nil
}

// variable is the JSON value of a variable of the request, or its default;
// given is false where there is neither.
func (b *builder) variable(name string) (value any, given bool) {
	return variableOf(b.in.Operation, b.in.Variables, name)
}

func badInput(format string, args ...any) *connectors.Error {
	return connectors.Errorf(connectors.CodeBadInput, format, args...)
}
