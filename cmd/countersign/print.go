package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/countersign/countersign/cmd/countersign/config"
	"github.com/countersign/countersign/connectors"
)

// errorText is an error for a person: a coded one with its code, and what the
// operator may know of the cause, since whoever runs a command is the operator.
func errorText(err error) string {
	var e *connectors.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	text := fmt.Sprintf("%s (%s)", e.Message, e.Code)
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// printProblems writes each problem with its place and what to write instead,
// and tells whether one of them is more than a warning.
func printProblems(w io.Writer, problems []config.Problem) (fatal bool) {
	for _, p := range problems {
		kind := "error"
		if p.Warning {
			kind = "warning"
		} else {
			fatal = true
		}
		place := p.File
		if p.Line > 0 {
			place += fmt.Sprintf(":%d", p.Line)
			if p.Column > 0 {
				place += fmt.Sprintf(":%d", p.Column)
			}
		}
		fmt.Fprintf(w, "%s: %s: %s [%s]\n", place, kind, p.Message, p.Code)
		if p.Hint != "" {
			fmt.Fprintf(w, "    %s\n", strings.ReplaceAll(p.Hint, "\n", "\n    "))
		}
	}
	return fatal
}

// printJSON writes one value, indented.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table writes rows in aligned columns. Control characters of what is shown are
// escaped: a name must not move a terminal's cursor.
func table(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = plain(cell)
		}
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	return tw.Flush()
}

// plain makes what a terminal would act on, or what a person cannot see,
// visible.
func plain(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < 0x20, r == 0x7f, r >= 0x80 && r < 0xa0, r == 0x61c, r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202f,
			r >= 0x2060 && r <= 0x206f, r == 0xfeff, r == 0xad, r >= 0xe0000 && r <= 0xe0fff:
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
