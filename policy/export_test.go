package policy

import "github.com/countersign/countersign/connectors"

// What the tests outside of the package compare with.

// Ask asks Casbin, see rulebook.ask.
func (e *Engine) Ask(role, object string, secret bool, act Act) (Effect, int, error) {
	return e.rules.ask(role, object, secret, act)
}

// CasbinRoles are the roles that Casbin says a role holds.
func (e *Engine) CasbinRoles(role string) []string { return e.rules.holds(role) }

// Negate is the strict negation of a condition.
func Negate(c *connectors.Condition) *connectors.Condition { return negate(c) }

// Fence marks a condition as that of a line.
func Fence(c *connectors.Condition) *connectors.Condition { return fence(c) }

// A Cell of policy.csv, for the fuzz test of its reader.
type CSVCell struct {
	Text         string
	Line, Column int
}

// ReadCSV reads policy.csv without looking at what it means.
func ReadCSV(data string) (rows [][]CSVCell, problems []Problem) {
	var r report
	for _, row := range readCSV("policy.csv", data, &r) {
		var cells []CSVCell
		for _, c := range row.cells {
			cells = append(cells, CSVCell{c.text, c.line, c.column})
		}
		rows = append(rows, cells)
	}
	return rows, r.problems
}
