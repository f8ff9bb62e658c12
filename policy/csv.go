package policy

import (
	"strings"
	"unicode/utf8"
)

// A cell is the text of one cell of policy.csv and where it stands.
type cell struct {
	text   string
	line   int
	column int // 1-based, in bytes, of the first byte of text
	// doubled are the offsets into text of quotes that the file writes twice.
	doubled []int
}

// columnAt is the column of the byte at an offset into the cell's text.
func (c cell) columnAt(offset int) int {
	col := c.column + offset
	for _, d := range c.doubled {
		if d < offset {
			col++
		}
	}
	return col
}

// A row is one line of policy.csv that holds cells.
type row struct {
	line  int
	text  string // the line as written, without comment and surrounding spaces
	cells []cell
}

// readCSV reads policy.csv: one record a line, cells separated by commas, spaces
// around cells without meaning. A cell that begins with a quote is quoted as in
// CSV; in any other a quote stands for itself. A # begins a comment where a cell
// could begin or after a space, and not inside quotes of either kind.
//
// encoding/csv is not used because it knows comments only at the start of a line
// and lets a quoted cell run over several.
func readCSV(file, data string, r *report) []row {
	data = strings.TrimPrefix(data, "\ufeff")
	var rows []row
	for n, line := range strings.Split(data, "\n") {
		line = strings.TrimSuffix(line, "\r")
		if !utf8.ValidString(line) || strings.ContainsRune(line, 0) {
			r.add(Problem{File: file, Line: n + 1, Code: ProblemSyntax, Message: "the line is not valid UTF-8 text"})
			continue
		}
		s := csvScanner{text: line, line: n + 1}
		cells, end, problem := s.cells()
		if problem != "" {
			r.add(Problem{File: file, Line: n + 1, Column: s.pos + 1, Code: ProblemSyntax, Message: problem})
			continue
		}
		if len(cells) == 0 {
			continue
		}
		rows = append(rows, row{line: n + 1, text: strings.TrimSpace(line[:end]), cells: cells})
	}
	return rows
}

type csvScanner struct {
	text string
	line int
	pos  int
}

// cells reads the line's cells; end is where the comment begins, or the length.
func (s *csvScanner) cells() (cells []cell, end int, problem string) {
	for {
		s.spaces()
		if s.pos >= len(s.text) || s.text[s.pos] == '#' {
			if len(cells) > 0 {
				cells = append(cells, cell{line: s.line, column: s.pos + 1})
			}
			return cells, s.pos, ""
		}
		var c cell
		if s.text[s.pos] == '"' {
			if c, problem = s.quoted(); problem != "" {
				return nil, 0, problem
			}
		} else {
			c = s.plain()
		}
		cells = append(cells, c)
		if s.pos >= len(s.text) || s.text[s.pos] == '#' {
			return cells, s.pos, ""
		}
		s.pos++ // the comma
	}
}

func (s *csvScanner) spaces() {
	for s.pos < len(s.text) && (s.text[s.pos] == ' ' || s.text[s.pos] == '\t') {
		s.pos++
	}
}

func (s *csvScanner) plain() cell {
	start, inString := s.pos, false
	for s.pos < len(s.text) {
		ch := s.text[s.pos]
		if ch == ',' {
			break
		}
		switch {
		case inString && ch == '\\' && s.pos+1 < len(s.text) && s.text[s.pos+1] != ',':
			s.pos++
		case ch == '"':
			inString = !inString
		case ch == '#' && !inString && (s.text[s.pos-1] == ' ' || s.text[s.pos-1] == '\t'):
			return cell{text: strings.TrimRight(s.text[start:s.pos], " \t"), line: s.line, column: start + 1}
		}
		s.pos++
	}
	return cell{text: strings.TrimRight(s.text[start:s.pos], " \t"), line: s.line, column: start + 1}
}

func (s *csvScanner) quoted() (cell, string) {
	c := cell{line: s.line, column: s.pos + 2}
	var b strings.Builder
	for s.pos++; ; s.pos++ {
		if s.pos >= len(s.text) {
			return c, "a quoted cell does not end on its line"
		}
		if s.text[s.pos] != '"' {
			b.WriteByte(s.text[s.pos])
			continue
		}
		if s.pos+1 < len(s.text) && s.text[s.pos+1] == '"' {
			c.doubled = append(c.doubled, b.Len())
			b.WriteByte('"')
			s.pos++
			continue
		}
		break
	}
	s.pos++
	s.spaces()
	if s.pos < len(s.text) && s.text[s.pos] != ',' && s.text[s.pos] != '#' {
		return c, `after the closing quote of a cell only a comma may stand; write a quote inside it twice ("")`
	}
	// A quoted cell may begin or end with spaces inside the quotes; they mean as
	// little as outside.
	text := strings.TrimLeft(b.String(), " \t")
	trimmed := b.Len() - len(text)
	c.column += trimmed
	for i := range c.doubled {
		c.doubled[i] -= trimmed
	}
	c.text = strings.TrimRight(text, " \t")
	return c, ""
}
