package connectortest

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/memory"
)

// compare runs a query on the connector and on the oracle. Either both answer
// the same, or both refuse with the same code. A page of records in no declared
// order is any that many of them.
func (s *session) compare(t reporter, q *connectors.Query) answer {
	t.Helper()
	got, gotErr := read(s.c, q)
	want, wantErr := read(s.oracle, q)
	if connectors.CodeOf(gotErr) != connectors.CodeOf(wantErr) {
		t.Fatalf("the connector says %v, the oracle %v, to\n%s", describeError(gotErr), describeError(wantErr), show(q))
	}
	if gotErr != nil {
		return got
	}
	if a := q.Select; a.Page != nil && a.Aggregate == nil && !total(s.oracle.Schema().Collection(a.Collection), a.Order) {
		whole := *a
		whole.Page, whole.MaxRows = nil, 0
		every, err := read(s.oracle, &connectors.Query{Select: whole.Seal(), Args: q.Args, Bind: q.Bind})
		if err != nil {
			t.Fatalf("the oracle: %v", describeError(err))
		}
		if problem := s.partOf(q, got, want, every); problem != "" {
			t.Fatalf("%s\nconnector:\n%sof:\n%sto %s", problem, got, every, show(q))
		}
		return got
	}
	if problem := s.differ(q, got, want); problem != "" {
		t.Fatalf("%s\nconnector:\n%soracle:\n%sto %s", problem, got, want, show(q))
	}
	return got
}

func describeError(err error) string {
	if err == nil {
		return "nothing"
	}
	e := connectors.AsError(err)
	return fmt.Sprintf("%v (cause: %v)", e, e.Cause)
}

func show(q *connectors.Query) string {
	b, err := json.MarshalIndent(struct {
		*connectors.Select
		Args []connectors.Value
		Bind [][]connectors.Value
	}{q.Select, q.Args, q.Bind}, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// total tells whether an order leaves no two records in the same place.
func total(c *connectors.Collection, order []connectors.OrderTerm) bool {
	return len(c.Key) > 0 && !slices.ContainsFunc(c.Key, func(k string) bool {
		return !slices.ContainsFunc(order, func(o connectors.OrderTerm) bool { return o.Field == k && len(o.Via) == 0 })
	})
}

// partOf says why the rows are no page of as many records as wanted of every one
// that matches, entry by entry: "" when they are.
func (s *session) partOf(q *connectors.Query, got, want, every answer) string {
	leaves, _ := s.leaves(q)
	entry := func(a answer, i int) uint32 {
		if a.bind == nil {
			return 0
		}
		return a.bind[i]
	}
	left, sizes := map[string]int{}, map[uint32]int{}
	for i, row := range every.rows {
		left[fmt.Sprint(entry(every, i))+" "+identity(row, leaves)]++
	}
	for i := range want.rows {
		sizes[entry(want, i)]++
	}
	for i, row := range got.rows {
		id := fmt.Sprint(entry(got, i)) + " " + identity(row, leaves)
		if left[id]--; left[id] < 0 {
			return fmt.Sprintf("row %d does not match, or is there too often: %v", i, row)
		}
		sizes[entry(got, i)]--
	}
	for n, size := range sizes {
		if size != 0 {
			return fmt.Sprintf("the page of entry %d lacks %d rows", n, size)
		}
	}
	return ""
}

// differ says how two answers differ: "" when not. Entries may come in any
// order, the rows of one are in the order asked for; where that leaves records in
// the same place, they may come in any.
func (s *session) differ(q *connectors.Query, got, want answer) string {
	if len(got.rows) != len(want.rows) {
		return fmt.Sprintf("%d rows, not %d", len(got.rows), len(want.rows))
	}
	byEntry := func(a answer) [][]string {
		if a.bind == nil {
			return slices.Clone(a.rows)
		}
		var out [][]string
		for n := range q.Bind {
			for i := range a.rows {
				if a.bind[i] == uint32(n) {
					out = append(out, append([]string{strconv.Itoa(n)}, a.rows[i]...))
				}
			}
		}
		return out
	}
	g, w := byEntry(got), byEntry(want)
	leaves, loose := s.leaves(q)
	if got.bind != nil || want.bind != nil {
		leaves = append([]connectors.Scalar{connectors.ScalarInt}, leaves...)
	}
	switch a := q.Select.Aggregate; {
	case a != nil && len(q.Select.Order) == 0:
		grouped := len(leaves) - len(a.Values)
		arrange(g, leaves[:grouped])
		arrange(w, leaves[:grouped])
	case a == nil && !total(s.oracle.Schema().Collection(q.Select.Collection), q.Select.Order):
		if problem := inOrder(q, got, want, leaves[len(leaves)-len(q.Select.Columns):]); problem != "" {
			return problem
		}
		arrange(g, leaves)
		arrange(w, leaves)
	}
	for i := range g {
		for j := range g[i] {
			if !sameCell(leaves[j], g[i][j], w[i][j], loose) {
				return fmt.Sprintf("row %d, cell %d (%s): %s, not %s", i, j, leaves[j], g[i][j], w[i][j])
			}
		}
	}
	return ""
}

// inOrder says where the cells of the first term of an order that is not total
// are not those of the oracle: "" where they are, or are not asked for.
func inOrder(q *connectors.Query, got, want answer, leaves []connectors.Scalar) string {
	if len(q.Select.Order) == 0 || len(q.Select.Order[0].Via) > 0 || got.bind != nil {
		return ""
	}
	for j, c := range q.Select.Columns {
		if c.Field != q.Select.Order[0].Field || c.If != nil || c.Version {
			continue
		}
		for i := range got.rows {
			if !sameCell(leaves[j], got.rows[i][j], want.rows[i][j], false) {
				return fmt.Sprintf("row %d is not in order: %s, not %s", i, got.rows[i][j], want.rows[i][j])
			}
		}
	}
	return ""
}

// arrange orders rows by the cells that the leaves are of.
func arrange(rows [][]string, leaves []connectors.Scalar) {
	type known struct {
		id  string
		row []string
	}
	list := make([]known, len(rows))
	for i, row := range rows {
		list[i] = known{identity(row, leaves), row}
	}
	slices.SortStableFunc(list, func(a, b known) int { return strings.Compare(a.id, b.id) })
	for i := range list {
		rows[i] = list[i].row
	}
}

// identity is the same for rows whose cells mean the same.
func identity(row []string, leaves []connectors.Scalar) string {
	var b strings.Builder
	for i, leaf := range leaves {
		if leaf == versionScalar {
			continue
		}
		if v, err := connectors.ParseCell([]byte(row[i]), leaf); err == nil {
			if c, err := memory.Canonical(leaf, v); err == nil && !v.IsNull() {
				v = c
			}
			memory.AppendIdentity(&b, leaf, v)
		}
	}
	return b.String()
}

// leaves are the scalars of a query's cells; loose where sums may be rounded.
func (s *session) leaves(q *connectors.Query) (leaves []connectors.Scalar, loose bool) {
	c := s.schema.Collection(q.Select.Collection)
	if a := q.Select.Aggregate; a != nil {
		for _, name := range a.GroupBy {
			leaves = append(leaves, c.Field(name).Type.Leaf())
		}
		for _, v := range a.Values {
			leaf := connectors.ScalarInt
			if f := c.Field(v.Field); f != nil {
				leaf = f.Type.Leaf()
			}
			scalar, _ := v.Func.ScalarOf(leaf)
			leaves = append(leaves, scalar)
		}
		return leaves, true
	}
	for _, col := range q.Select.Columns {
		if col.Version {
			leaves = append(leaves, versionScalar)
			continue
		}
		leaves = append(leaves, c.Field(col.Field).Type.Leaf())
	}
	return leaves, false
}

// versionScalar marks cells that are opaque: any text will do.
const versionScalar connectors.Scalar = "version"

// looseness is the relative difference at which computed numbers are equal.
const looseness = 1e-9

// sameCell compares two cells of a scalar by what they mean: 10.50 is 10.5.
func sameCell(leaf connectors.Scalar, a, b string, loose bool) bool {
	if leaf == versionScalar {
		return a[0] == '"' && b[0] == '"'
	}
	if a == b {
		return true
	}
	if a == "null" || b == "null" || (a[0] == '"') != (b[0] == '"') {
		return false
	}
	v, errV := connectors.ParseCell([]byte(a), leaf)
	w, errW := connectors.ParseCell([]byte(b), leaf)
	if errV != nil || errW != nil {
		return false
	}
	v, errV = memory.Canonical(leaf, v)
	w, errW = memory.Canonical(leaf, w)
	if errV != nil || errW != nil {
		return false
	}
	if memory.Compare(leaf, v, w) == 0 {
		return true
	}
	x, errX := strconv.ParseFloat(v.Text, 64)
	y, errY := strconv.ParseFloat(w.Text, 64)
	return loose && errX == nil && errY == nil && math.Abs(x-y) <= looseness*max(math.Abs(x), math.Abs(y), 1)
}
