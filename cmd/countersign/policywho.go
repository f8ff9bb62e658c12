package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/countersign/countersign/policy"
	"github.com/countersign/countersign/policy/identity"
	"github.com/countersign/countersign/store"
)

type policyWhoCanCmd struct {
	Act    string `arg:"" help:"read, create, update, delete, call or approve." enum:"read,create,update,delete,call,approve"`
	Object string `arg:"" help:"source.collection, source.function, or one with .field."`
	Config string `help:"The configuration." default:"countersign.yaml" type:"path"`
	Data   string `help:"Folder of the store: the people in it are listed too." default:"data" type:"path"`
	JSON   bool   `help:"Print JSON." name:"json"`
}

// An entitled is somebody who may, with fields for which the same holds.
type entitled struct {
	Who    string `json:"who"` // role:NAME, agent:NAME, user:NAME, anonymous
	Effect string `json:"effect"`
	// May is the effect with its conditions, in words.
	May    string          `json:"may"`
	Fields []string        `json:"fields,omitempty"`
	Lines  []explainedLine `json:"lines"`
}

// Run lists roles, agents and people.
func (w *policyWhoCanCmd) Run(e *env) error {
	p, problems := loadOffline(w.Config)
	if printProblems(e.stderr, problems) {
		return errSilent
	}
	object, field, err := p.policy.Name(w.Object)
	if err != nil {
		return err
	}
	people, err := p.people(e, w.Data)
	if err != nil {
		return err
	}
	out := []entitled{}
	add := func(who string, as *policy.Principal) {
		view := p.policy.View(as)
		for _, d := range policy.Compare(&policy.View{}, view) {
			if d.Object != object || d.Act != policy.Act(w.Act) || field != "" && len(d.Fields) > 0 && !slices.Contains(d.Fields, field) {
				continue
			}
			entry := entitled{Who: who, Effect: strings.Fields(d.To)[0], May: d.To, Fields: d.Fields, Lines: []explainedLine{}}
			if field != "" && len(d.Fields) > 0 {
				entry.Fields, d.Lines = []string{field}, view.ExplainField(object, d.Act, field)
			}
			for _, l := range d.Lines {
				entry.Lines = append(entry.Lines, explainedLine{File: filepath.Base(l.File), Line: l.Line, Text: l.Text})
			}
			out = append(out, entry)
		}
	}
	add(string(policy.Anonymous), policy.AnonymousPrincipal())
	for _, role := range p.policy.Roles() {
		if role != string(policy.Anonymous) {
			add("role:"+role, p.subject("role:"+role, p))
		}
	}
	for _, name := range p.cfg.Agents.Names {
		add("agent:"+name, p.subject("agent:"+name, p))
	}
	for _, person := range people {
		add(person.ID, person)
	}
	if w.JSON {
		return printJSON(e.stdout, out)
	}
	return w.print(e, out)
}

func (w *policyWhoCanCmd) print(e *env, list []entitled) error {
	if len(list) == 0 {
		e.printf("nobody may %s %s\n", w.Act, plain(w.Object))
		return nil
	}
	for i, r := range list {
		if i == 0 || list[i-1].Who != r.Who {
			e.printf("%s\n", plain(r.Who))
		}
		on := ""
		if len(r.Fields) > 0 {
			on = " {" + strings.Join(r.Fields, " ") + "}"
		}
		e.printf("  %s%s\n", plain(r.May), plain(on))
		for _, l := range r.Lines {
			e.printf("    %s:%d  %s\n", l.File, l.Line, plain(l.Text))
		}
	}
	return nil
}

// people are those of the store, where there is one, and those whom lines name.
func (p *project) people(e *env, data string) (out []*policy.Principal, err error) {
	seen := map[string]bool{}
	if p.cfg.Store != "" || !absent(filepath.Join(data, "countersign.db")) {
		if out, err = p.stored(e, data); err != nil {
			return nil, fmt.Errorf("the people of the store cannot be listed: %w", err)
		}
	}
	for _, person := range out {
		seen[person.ID] = true
	}
	for _, role := range p.policy.Roles() {
		_, members := p.policy.Holding(role)
		for _, m := range members {
			if !seen[m] && !strings.HasPrefix(m, "agent:") {
				seen[m] = true
				out = append(out, p.subject(m, p))
			}
		}
	}
	slices.SortFunc(out, func(a, b *policy.Principal) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

func (p *project) stored(e *env, data string) (out []*policy.Principal, err error) {
	s, err := openStore(e.ctx, p.cfg, data, store.ReadOnly, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	ids, err := identity.New(identityConfig(p.cfg), s, identity.Options{})
	if err != nil {
		return nil, err
	}
	users, err := ids.Users(e.ctx, policy.DefaultTenant)
	if err != nil {
		return nil, err
	}
	for _, u := range users {
		if !u.Suspended {
			out = append(out, &policy.Principal{ID: u.ID, Kind: policy.Human, Name: u.Name, Tenant: policy.DefaultTenant, Roles: u.Roles, Interactive: true})
		}
	}
	return out, nil
}
