package main

import (
	"fmt"
	"strconv"
	"strings"
)

func (out *policyDiff) print(e *env, d *policyDiffCmd) error {
	switch {
	case d.JSON:
		return printJSON(e.stdout, out)
	case d.Markdown:
		e.printf("%s", out.markdown())
	default:
		out.text(e)
	}
	return nil
}

// word is the kind of a change.
func (r *rightDiff) word() string {
	switch {
	case r.From == "":
		return "gained"
	case r.To == "":
		return "lost"
	case r.Opens && r.Closes:
		return "changed"
	case r.Opens:
		return "wider"
	}
	return "narrower"
}

func (r *rightDiff) object() string {
	if len(r.Fields) == 0 {
		return r.Object
	}
	return r.Object + "{" + strings.Join(r.Fields, " ") + "}"
}

func (r *recordsDiff) text() string {
	if r.Note != "" {
		return r.Note
	}
	return fmt.Sprintf("%d records before, %d after: %d opened, %d closed", r.Before, r.After, r.Opened, r.Closed)
}

func (out *policyDiff) summary() string {
	if len(out.Subjects) == 0 {
		return "nobody may anything else than before"
	}
	return counted(out.Gains, "change") + " that may open something, " + strconv.Itoa(out.Losses) + " that may close something"
}

const approvalsNote = "approvals.yaml differs: who decides about what is proposed may have changed"

func (out *policyDiff) text(e *env) {
	for i := range out.Subjects {
		s := &out.Subjects[i]
		e.printf("%s\n", plain(s.Who))
		for j := range s.Changes {
			r := &s.Changes[j]
			e.printf("  %-8s %s %s\n", r.word(), r.Act, plain(r.object()))
			if r.From != "" {
				e.printf("           before: %s\n", plain(r.From))
			}
			if r.To != "" {
				e.printf("           after:  %s\n", plain(r.To))
			}
			for _, l := range r.Lines {
				e.printf("           %s:%d  %s\n", l.File, l.Line, plain(l.Text))
			}
		}
		for j := range s.Records {
			e.printf("  records  %s: %s\n", plain(s.Records[j].Object), plain(s.Records[j].text()))
		}
	}
	if out.Approvals {
		e.printf("%s\n", approvalsNote)
	}
	e.printf("%s\n", out.summary())
}

// markdown is a comment for a pull request.
func (out *policyDiff) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### Policy %s → %s\n\n%s\n", out.Old, out.New, out.summary())
	if out.Approvals {
		fmt.Fprintf(&b, "\n%s\n", approvalsNote)
	}
	for i := range out.Subjects {
		s := &out.Subjects[i]
		fmt.Fprintf(&b, "\n#### %s\n\n| | act | on | before | after | lines |\n|---|---|---|---|---|---|\n", cell(s.Who))
		for j := range s.Changes {
			r := &s.Changes[j]
			var lines []string
			for _, l := range r.Lines {
				lines = append(lines, fmt.Sprintf("%s:%d", l.File, l.Line))
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", bold(r.word(), r.Opens), r.Act, code(r.object()), code(r.From), code(r.To), strings.Join(lines, ", "))
		}
		for j := range s.Records {
			if j == 0 {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "- %s: %s\n", code(s.Records[j].Object), cell(s.Records[j].text()))
		}
	}
	return b.String()
}

func bold(word string, yes bool) string {
	if yes {
		return "**" + word + "**"
	}
	return word
}

// cell is text that neither ends a cell nor begins markup: conditions hold what
// their authors wrote.
func cell(text string) string {
	return strings.NewReplacer("\\", "\\\\", "|", "\\|", "\n", " ", "<", "&lt;", "&", "&amp;", "*", "\\*", "_", "\\_", "[", "\\[", "`", "\\`", "@", "&#64;").Replace(plain(text))
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`` " + strings.NewReplacer("``", "` `", "|", "\\|", "\n", " ").Replace(plain(text)) + " ``"
}
