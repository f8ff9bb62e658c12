package main

import (
	"encoding/json"
	"strconv"
	"strings"
)

type proposalsCmd struct {
	List     proposalsList     `cmd:"" help:"List proposals, the newest first."`
	Show     proposalsShow     `cmd:"" help:"Show one proposal with its diff."`
	Approve  proposalsApprove  `cmd:"" help:"Approve exactly what is shown."`
	Reject   proposalsReject   `cmd:"" help:"Reject."`
	Withdraw proposalsWithdraw `cmd:"" help:"Take back what you or your agent proposed."`
}

const proposalFields = `id state revision contentHash reviewHash reason reasonCode createdAt expiresAt
  author { name actsFor } canApprove { yes code because }
  changes { source collection kind affectedCount guarantee complete incompleteBecause diff { key label before after fields } request }
  requirement { rule seats { role count confirm filled } } decisions { by kind at comment }
  execution { state attempts receipt { settledAs evidence message } }`

type proposal struct {
	ID, State               string
	Revision                int
	ContentHash, ReviewHash string
	Reason, ReasonCode      *string
	CreatedAt, ExpiresAt    string
	Author                  struct {
		Name    string
		ActsFor *string
	}
	CanApprove struct {
		Yes           bool
		Code, Because *string
	}
	Changes     []proposalChange
	Requirement struct {
		Rule  *string
		Seats []struct {
			Role          *string
			Count, Filled int
			Confirm       bool
		}
	}
	Decisions []struct {
		By, Kind, At string
		Comment      *string
	}
	Execution struct {
		State    string
		Attempts int
		Receipt  *struct {
			SettledAs         string
			Evidence, Message *string
		}
	}
}

type proposalChange struct {
	Source, Collection, Kind, Guarantee string
	AffectedCount                       *int
	Complete                            bool
	IncompleteBecause                   *string
	Request                             json.RawMessage
	Diff                                []struct {
		Key, Label    *string
		Before, After map[string]any
		Fields        []string
	}
}

// printRaw prints what the graph answered, under the graph's own names.
func printRaw(e *env, raw json.RawMessage) error { return printJSON(e.stdout, raw) }

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

type proposalsList struct {
	remote `embed:""`
	State  []string `help:"Only these states, as PENDING or EXECUTED."`
}

// Run lists up to a hundred proposals.
func (l *proposalsList) Run(e *env) error {
	c, err := l.client(e)
	if err != nil {
		return err
	}
	var res struct{ Proposals json.RawMessage }
	vars := map[string]any{}
	if len(l.State) > 0 {
		vars["f"] = map[string]any{"state": map[string]any{"in": l.State}}
	}
	if err := c.graph(`query($f: ProposalFilter) { proposals(filter: $f, first: 100) { nodes { `+proposalFields+` } } }`, vars, &res); err != nil {
		return err
	}
	if l.JSON {
		return printRaw(e, res.Proposals)
	}
	var page *struct{ Nodes []proposal }
	if err := json.Unmarshal(res.Proposals, &page); err != nil {
		return err
	}
	rows := [][]string{{"ID", "STATE", "WHAT", "BY", "EXPIRES"}}
	if page == nil {
		return table(e.stdout, rows)
	}
	for _, p := range page.Nodes {
		rows = append(rows, []string{p.ID, p.State, p.what(), p.by(), p.ExpiresAt})
	}
	return table(e.stdout, rows)
}

func (p *proposal) what() string {
	var out []string
	for _, c := range p.Changes {
		s := strings.ToLower(c.Kind) + " " + c.Source + "." + c.Collection
		if c.AffectedCount != nil && c.Kind != "CALL" {
			s += " ×" + strconv.Itoa(*c.AffectedCount)
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func (p *proposal) by() string {
	if p.Author.ActsFor != nil {
		return p.Author.Name + " for " + *p.Author.ActsFor
	}
	return p.Author.Name
}

type proposalsShow struct {
	remote `embed:""`
	ID     string `arg:"" help:"The proposal's id."`
}

func (c *client) proposal(id string) (*proposal, error) {
	var res struct{ Proposal *proposal }
	if err := c.graph(`query($id: ID!) { proposal(id: $id) { `+proposalFields+` } }`, map[string]any{"id": id}, &res); err != nil {
		return nil, err
	}
	if res.Proposal == nil {
		return nil, &remoteError{code: "NOT_FOUND", message: "there is no proposal of that id that you may see"}
	}
	return res.Proposal, nil
}

// Run shows a proposal.
func (s *proposalsShow) Run(e *env) error {
	c, err := s.client(e)
	if err != nil {
		return err
	}
	if s.JSON {
		var res struct{ Proposal json.RawMessage }
		if err := c.graph(`query($id: ID!) { proposal(id: $id) { `+proposalFields+` } }`, map[string]any{"id": s.ID}, &res); err != nil {
			return err
		}
		return printRaw(e, res.Proposal)
	}
	p, err := c.proposal(s.ID)
	if err != nil {
		return err
	}
	p.print(e)
	return nil
}

func (p *proposal) print(e *env) {
	e.printf("%s  %s %s\n  by %s at %s, expires %s\n", p.ID, p.State, plain(text(p.ReasonCode)), plain(p.by()), p.CreatedAt, p.ExpiresAt)
	for i, c := range p.Changes {
		e.printf("\n%d. %s %s.%s\n", i+1, strings.ToLower(c.Kind), c.Source, c.Collection)
		for _, d := range c.Diff {
			e.printf("   %s %s\n", plain(text(d.Key)), plain(text(d.Label)))
			for _, f := range d.Fields {
				e.printf("     %s: %s -> %s\n", plain(f), shown(d.Before, f), shown(d.After, f))
			}
		}
		if len(c.Request) > 0 && string(c.Request) != "null" {
			e.printf("   sends %s\n", plain(string(c.Request)))
		}
		if !c.Complete {
			e.printf("   NOT EVERYTHING COULD BE SHOWN: %s\n", plain(text(c.IncompleteBecause)))
		}
		e.printf("   %s\n", c.Guarantee)
	}
	if p.Reason != nil {
		e.printf("\nIn the author's words, not checked by anyone:\n  > %s\n", plain(*p.Reason))
	}
	for _, s := range p.Requirement.Seats {
		who := text(s.Role)
		if s.Confirm {
			who = strings.TrimSuffix("confirmation by the requester, or "+who, ", or ")
		}
		e.printf("needs %d × %s, has %d\n", s.Count, plain(who), s.Filled)
	}
	for _, d := range p.Decisions {
		e.printf("%s: %s at %s %s\n", plain(d.By), strings.ToLower(d.Kind), d.At, plain(text(d.Comment)))
	}
	e.printf("execution: %s, %d attempts", p.Execution.State, p.Execution.Attempts)
	if r := p.Execution.Receipt; r != nil {
		e.printf(", %s", r.SettledAs)
		for _, more := range []*string{r.Message, r.Evidence} {
			if more != nil {
				e.printf(", %s", plain(*more))
			}
		}
	}
	e.printf("\nrevision %d, content %s, review %s\n", p.Revision, p.ContentHash, p.ReviewHash)
}

func shown(record map[string]any, field string) string {
	if record == nil {
		return "(none)"
	}
	raw, err := json.Marshal(record[field])
	if err != nil {
		return "?"
	}
	return plain(string(raw))
}

type proposalsApprove struct {
	remote      `embed:""`
	ID          string `arg:"" help:"The proposal's id."`
	ContentHash string `help:"The content hash that was reviewed; by default the one shown now." name:"content-hash"`
	Comment     string `help:"A comment for the record."`
}

// Run approves the content that it shows.
func (a *proposalsApprove) Run(e *env) error {
	c, err := a.client(e)
	if err != nil {
		return err
	}
	p, err := c.proposal(a.ID)
	if err != nil {
		return err
	}
	if a.ContentHash != "" {
		p.ContentHash = a.ContentHash
	}
	p.print(e)
	return c.decide(e, `mutation($id: ID!, $r: Int!, $c: String!, $v: String!, $m: String) { done: approveProposal(id: $id, revision: $r, contentHash: $c, reviewHash: $v, comment: $m) { state } }`,
		map[string]any{"id": p.ID, "r": p.Revision, "c": p.ContentHash, "v": p.ReviewHash, "m": nullable(a.Comment)})
}

type proposalsReject struct {
	remote  `embed:""`
	ID      string `arg:"" help:"The proposal's id."`
	Comment string `help:"A comment for the record."`
}

// Run rejects.
func (r *proposalsReject) Run(e *env) error {
	c, err := r.client(e)
	if err != nil {
		return err
	}
	p, err := c.proposal(r.ID)
	if err != nil {
		return err
	}
	return c.decide(e, `mutation($id: ID!, $r: Int!, $c: String!, $m: String) { done: rejectProposal(id: $id, revision: $r, contentHash: $c, comment: $m) { state } }`,
		map[string]any{"id": p.ID, "r": p.Revision, "c": p.ContentHash, "m": nullable(r.Comment)})
}

type proposalsWithdraw struct {
	remote `embed:""`
	ID     string `arg:"" help:"The proposal's id."`
}

// Run withdraws.
func (w *proposalsWithdraw) Run(e *env) error {
	c, err := w.client(e)
	if err != nil {
		return err
	}
	return c.decide(e, `mutation($id: ID!) { done: withdrawProposal(id: $id) { state } }`, map[string]any{"id": w.ID})
}

func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// decide runs a deciding mutation and says the state after it.
func (c *client) decide(e *env, mutation string, vars map[string]any) error {
	var res struct{ Done *struct{ State string } }
	if err := c.graph(mutation, vars, &res); err != nil {
		return err
	}
	if res.Done != nil {
		e.printf("now %s\n", res.Done.State)
	}
	return nil
}
