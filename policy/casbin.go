package policy

import (
	"errors"
	"slices"
	"sort"
	"strconv"
	"strings"

	casbin "github.com/casbin/casbin/v2"
	"github.com/casbin/casbin/v2/effector"
	"github.com/casbin/casbin/v2/model"
	"github.com/casbin/casbin/v2/persist"
	rolemanager "github.com/casbin/casbin/v2/rbac/default-role-manager"
)

// A Rule is a line of a policy as Casbin holds it.
type Rule struct {
	Kind  string   // p, g or g2
	Cells []string // p: role, object, acts, effect; g: member, role; g2: object, group
	// Rank is how exact a p rule is, and Line which of the p lines it is, counted
	// from 0. A line about a group of objects is one rule for each of them.
	Rank, Line int
}

// A RuleStore holds the rules of a policy. Files are one; it answers the rules
// in the order in which they were written.
type RuleStore interface {
	Rules() ([]Rule, error)
}

// ruleList is the store of rules that were read from files.
type ruleList []Rule

func (l ruleList) Rules() ([]Rule, error) { return l, nil }

// The model is fixed; nobody writes a matcher. A request names one role, so that
// what holds over several roles stays outside of Casbin.
const casbinModel = `
[request_definition]
r = role, obj, secret, act
[policy_definition]
p = role, obj, act, eft, rank, line
[role_definition]
g = _, _
g2 = _, _
[policy_effect]
e = !some(where (p.eft == deny)) && first(order(p.rank))
[matchers]
m = r.role == p.role && does(r.act, p.act) && covers(r.obj, r.secret, p.obj, p.eft)
`

// hierarchy is how deep roles may hold roles. It is no limit in practice: what
// lies deeper would lose denials too.
const hierarchy = 1 << 16

// rulebook is Casbin with our rules: roles and their inheritance, and an answer
// to a single question with the line that gave it. It is asked when a policy is
// loaded, by explain, and by the tests as the oracle of views; by no request.
type rulebook struct {
	enforcer *casbin.Enforcer
	effector *exactEffector
	roles    *rolemanager.RoleManagerImpl
}

func newRulebook(store RuleStore) (*rulebook, error) {
	m, err := model.NewModelFromString(casbinModel)
	if err != nil {
		return nil, err
	}
	e, err := casbin.NewEnforcer(m)
	if err != nil {
		return nil, err
	}
	b := &rulebook{enforcer: e, effector: &exactEffector{}, roles: rolemanager.NewRoleManagerImpl(hierarchy)}
	e.SetRoleManager(b.roles)
	e.SetEffector(b.effector)
	e.AddFunction("does", func(args ...any) (any, error) {
		return slices.Contains(strings.Split(args[1].(string), "|"), args[0].(string)), nil
	})
	e.AddFunction("covers", func(args ...any) (any, error) {
		return covers(args[0].(string), args[1].(string) == "true", args[2].(string), args[3].(string) == "deny"), nil
	})
	e.SetAdapter(storeAdapter{store})
	if err := e.LoadPolicy(); err != nil {
		return nil, err
	}
	for _, p := range e.GetModel()["p"]["p"].Policy {
		rank, err := strconv.Atoi(p[4])
		if err != nil {
			return nil, err
		}
		b.effector.ranks = append(b.effector.ranks, rank)
	}
	return b, nil
}

// covers tells, from texts alone, whether an object expression covers
// "source.object" as a whole, or its field "source.object{field}".
func covers(asked string, secret bool, expression string, denial bool) bool {
	object, field, hasField := strings.Cut(strings.TrimSuffix(asked, "}"), "{")
	name, braces, hasBraces := strings.Cut(strings.TrimSuffix(expression, "}"), "{")
	if !matchesName(object, strings.TrimSpace(name)) {
		return false
	}
	switch words := strings.Fields(strings.ReplaceAll(braces, ",", " ")); {
	case !hasField:
		return !hasBraces
	case !hasBraces:
		return denial || !secret
	case words[0] == "*":
		return !slices.Contains(words, "-"+field) && (denial || !secret)
	default:
		return slices.Contains(words, field)
	}
}

func matchesName(object, pattern string) bool {
	source, rest, _ := strings.Cut(object, ".")
	patternSource, patternRest, dotted := strings.Cut(pattern, ".")
	if !dotted {
		return pattern == "*"
	}
	return matchesSegment(source, patternSource) && matchesSegment(rest, patternRest)
}

func matchesSegment(text, pattern string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(text, prefix)
	}
	return text == pattern
}

// holds lists the roles that a member or role holds by inheritance, sorted.
func (b *rulebook) holds(name string) []string {
	roles, err := b.roles.GetImplicitRoles(name)
	if err != nil {
		return nil
	}
	sort.Strings(roles)
	return roles
}

// heldBy lists the members and roles that hold a role by inheritance, sorted.
func (b *rulebook) heldBy(role string) []string {
	users, err := b.roles.GetImplicitUsers(role)
	if err != nil {
		return nil
	}
	sort.Strings(users)
	return users
}

// ask answers what one role by itself may do to "source.object", or to its field
// "source.object{field}", and the number of the line that decided; -1 where none
// matches. Conditions are not looked at.
func (b *rulebook) ask(role, object string, secret bool, act Act) (Effect, int, error) {
	_, rule, err := b.enforcer.EnforceEx(role, object, strconv.FormatBool(secret), string(act))
	if err != nil || len(rule) < 6 {
		return Denied, -1, err
	}
	line, err := strconv.Atoi(rule[5])
	if err != nil {
		return Denied, -1, err
	}
	switch rule[3] {
	case "allow":
		return Allow, line, nil
	case "propose":
		return Propose, line, nil
	}
	return Denied, line, nil
}

// exactEffector is the precedence within one role: deny always wins, then the
// more exact line, then propose over allow. Casbin hands it "propose" as an
// effect that is neither; a matching one must not become an allow.
type exactEffector struct {
	ranks []int // of the rules, in Casbin's order
}

// MergeEffects waits for the last rule, because precedence is not in the order
// of lines. A decision for propose is told by the rule that explains it.
func (e *exactEffector) MergeEffects(_ string, effects []effector.Effect, matches []float64, index, length int) (effector.Effect, int, error) {
	if matches[index] != 0 && effects[index] == effector.Deny {
		return effector.Deny, index, nil
	}
	if index < length-1 {
		return effector.Indeterminate, -1, nil
	}
	best, bestRank := -1, 0
	for i := range matches {
		if matches[i] == 0 {
			continue
		}
		rank := e.ranks[i]
		if best < 0 || rank > bestRank || rank == bestRank && effects[i] == effector.Indeterminate && effects[best] == effector.Allow {
			best, bestRank = i, rank
		}
	}
	if best < 0 {
		return effector.Indeterminate, -1, nil
	}
	return effects[best], best, nil
}

// storeAdapter reads a RuleStore into Casbin. Policies are files under review:
// nothing is ever written back.
type storeAdapter struct{ store RuleStore }

var errReadOnly = errors.New("policies are changed in their files")

func (a storeAdapter) LoadPolicy(m model.Model) error {
	rules, err := a.store.Rules()
	if err != nil {
		return err
	}
	for _, r := range rules {
		cells := append([]string{r.Kind}, r.Cells...)
		if r.Kind == "p" {
			cells = append(cells, strconv.Itoa(r.Rank), strconv.Itoa(r.Line))
		}
		if err := persist.LoadPolicyArray(cells, m); err != nil {
			return err
		}
	}
	return nil
}

func (storeAdapter) SavePolicy(model.Model) error                              { return errReadOnly }
func (storeAdapter) AddPolicy(string, string, []string) error                  { return errReadOnly }
func (storeAdapter) RemovePolicy(string, string, []string) error               { return errReadOnly }
func (storeAdapter) RemoveFilteredPolicy(string, string, int, ...string) error { return errReadOnly }
