package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/countersign/countersign/graph/gateway"
	"github.com/countersign/countersign/policy"
)

// print writes an explanation for people.
func (x *explained) print(e *env) {
	x.printReasons(e)
	e.printf("sent\n")
	for i := range x.Sent {
		e.printf("%s\n", indent(plainLines(x.Sent[i].text())))
	}
	if x.NothingSent != "" {
		e.printf("  %s\n", x.NothingSent)
	}
	if x.Answer == nil {
		return
	}
	e.printf("answer\n  %d bytes\n", x.Answer.Bytes)
	for _, a := range x.Answer.Errors {
		e.printf("  error at %s: %s (%s)\n", plain(a.Path), plain(a.Message), a.Code)
	}
}

// printReasons writes who asks, what decides, and what is planned.
func (x *explained) printReasons(e *env) {
	for i, q := range x.Identity {
		title := "identity"
		if i > 0 {
			title = "acts for"
		}
		e.printf("%s\n  %s (%s), roles %s\n", title, plain(q.ID), q.Kind, plain(strings.Join(q.Roles, " ")))
	}
	if len(x.Identity) == 1 && x.Identity[0].Kind == string(policy.Agent) {
		e.printf("  for nobody: acting for a person, it may at most what that person may\n")
	}
	e.printf("lines\n")
	for _, l := range x.Lines {
		e.printf("  %s:%d  %s\n", l.File, l.Line, plain(l.Text))
	}
	if len(x.Lines) == 0 {
		e.printf("  none\n")
	}
	if len(x.Masked) > 0 {
		e.printf("masked, where no other line shows the value\n")
	}
	for _, m := range x.Masked {
		e.printf("  %s: %s by %s:%d\n", plain(m.Field), m.Mask, m.File, m.Line)
	}
	if x.Plan != "" {
		e.printf("plan\n%s\n", indent(plainLines(x.Plan)))
	}
	if x.Change != nil {
		x.printChange(e)
	}
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ")
}

// plainLines is plain with line breaks kept, which statements and plans have.
func plainLines(s string) string {
	parts := strings.Split(s, "\n")
	for i := range parts {
		parts[i] = plain(parts[i])
	}
	return strings.Join(parts, "\n")
}

// text is one statement or request, with what is known of it below.
func (s *explainedSent) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", s.Source, s.Object)
	if s.Keys > 0 {
		b.WriteString(", joined over " + counted(s.Keys, "key"))
	}
	if s.FromCache {
		return b.String() + "\n  from the cache, nothing sent"
	}
	if s.Statement != "" {
		b.WriteString("\n" + indent(s.Statement) + "\n  " + counted(len(s.Values), "value"))
		if len(s.Values) > 0 {
			b.WriteString(": " + strings.Join(s.Values, ", "))
		}
	} else {
		b.WriteString("\n  " + s.Method + " " + s.Target)
	}
	b.WriteString("\n  sent")
	if s.Attempts > 1 {
		b.WriteString(" " + counted(s.Attempts, "time"))
	}
	if s.Transaction {
		b.WriteString(" in the operation's read-only transaction")
	}
	if s.Method != "" && s.Status == 0 {
		b.WriteString(", no answer")
	} else if s.Status > 0 {
		b.WriteString(", status " + strconv.Itoa(s.Status))
	}
	if s.Error != "" {
		b.WriteString(", " + s.Error)
	}
	return b.String() + ", " + strconv.FormatFloat(s.Ms, 'f', -1, 64) + " ms"
}

// counted is "1 key" or "2 keys".
func counted(n int, of string) string {
	if n != 1 {
		of += "s"
	}
	return strconv.Itoa(n) + " " + of
}

// printChange says what a mutation would do.
func (x *explained) printChange(e *env) {
	c := x.Change
	then := ""
	if c.Routing != nil && c.Routing.Then == policy.ThenReject {
		then = ", and rejected by a rule"
	} else if c.Routing != nil && c.Routing.Then == policy.ThenApprove {
		then = ", and approved by a rule"
	}
	e.printf("change\n  the whole would be: %s%s\n", c.Outcome, then)
	for i := range c.Records {
		printStep(e, &c.Records[i], c.Outcome)
	}
	if r := c.Routing; r != nil {
		if c.Outcome == gateway.DependsOnRecord {
			e.printf("decision, where it is proposed\n")
		} else {
			e.printf("decision\n")
		}
		e.printf("  rule %s: %s\n", ruleName(r.Rule), r.Then)
		if r.Say != "" {
			e.printf("  says: %s\n", plain(r.Say))
		}
		for _, s := range r.Seats {
			e.printf("  seat: %s\n", plain(seatText(s)))
		}
		if x.Expire != "" {
			e.printf("  expires after %s\n", x.Expire)
		}
	}
}

func printStep(e *env, s *gateway.ForeseenStep, whole gateway.Prospect) {
	alone := ""
	if s.Outcome != whole {
		alone = "by itself "
	}
	e.printf("  %s: %s %s, %s%s\n", plain(s.ID), s.Act, plain(s.Object), alone, s.Outcome)
	if s.Call != "" {
		e.printf("    calls %s\n", plain(s.Call))
	}
	for _, part := range []struct {
		title string
		list  []gateway.ForeseenValue
	}{{"key", s.Key}, {"set", s.Set}, {"arguments", s.Args}} {
		if len(part.list) == 0 {
			continue
		}
		e.printf("    %s", part.title)
		for _, v := range part.list {
			sign := "="
			if v.Increment {
				sign = "+="
			}
			e.printf(" %s%s%s", plain(v.Name), sign, plain(v.Value))
		}
		e.printf("\n")
	}
	if s.ByFilter {
		e.printf("    every record that the filter finds, at most %d\n", s.Most)
	}
	e.printf("    outcome class %s, preview %s\n", s.Class, s.Preview)
	for _, c := range s.Validators {
		what := map[policy.Verdict]string{policy.Passed: "passes", policy.Refused: "refuses: " + c.Say, policy.Held: "is for people: " + c.Say,
			policy.Unasked: "is asked when it is written"}[c.Verdict]
		e.printf("    validator %s %s\n", plain(c.Validator), plain(what))
	}
	if s.Outcome == gateway.WouldRefuse {
		return
	}
	if len(s.Open) > 0 {
		e.printf("    rule %s by what is known; the records may make it %s\n", ruleName(s.Rule), plain(strings.Join(s.Open, " or ")))
	} else if s.Rule != "" {
		e.printf("    rule %s\n", plain(s.Rule))
	}
}

func ruleName(name string) string {
	if name == "" {
		return "defaults"
	}
	return plain(name)
}

func seatText(s gateway.ForeseenSeat) string {
	if !s.Confirm {
		return strconv.Itoa(s.Count) + " × role " + s.Role
	}
	text := "the person the agent acts for, where they may do all of it themselves"
	if s.Else != "" {
		text += "; else one with role " + s.Else
	}
	return text
}
