package main

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/policy"
)

// A recordsDiff is how many records of a collection somebody sees before and
// after, or why that is not known.
type recordsDiff struct {
	Object string `json:"object"`
	Before int64  `json:"before"`
	After  int64  `json:"after"`
	Opened int64  `json:"opened"`
	Closed int64  `json:"closed"`
	Note   string `json:"note,omitempty"`
}

// A counter asks the sources how many records conditions match.
type counter struct {
	to         *project
	connectors map[string]connectors.Connector
}

// countTime bounds one count.
const countTime = 30 * time.Second

func newCounter(e *env, _, to *project) (*counter, error) {
	c := &counter{to: to, connectors: map[string]connectors.Connector{}}
	for _, name := range to.cfg.Sources.Names {
		conn, err := connect(to.cfg, name, to.cfg.Sources.Values[name], to.schemas[name], newLog(e, false))
		if err != nil {
			return nil, errors.Join(err, c.close())
		}
		c.connectors[name] = conn
	}
	return c, nil
}

func (c *counter) close() error {
	var errs []error
	for _, conn := range c.connectors {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// subject counts the collections of which other records can be seen.
func (c *counter) subject(ctx context.Context, before, after *policy.View, a, b *policy.Principal) []recordsDiff {
	names := map[string]bool{}
	for _, v := range []*policy.View{before, after} {
		for name, access := range v.Objects {
			names[name] = names[name] || access.Read != nil
		}
	}
	var out []recordsDiff
	for _, object := range slices.Sorted(maps.Keys(names)) {
		x, y := readOf(before, object), readOf(after, object)
		if x == nil && y == nil || x != nil && y != nil && before.Text(x.Row) == after.Text(y.Row) {
			continue
		}
		d := recordsDiff{Object: object}
		if err := c.count(ctx, &d, rowOf(before, x, a), rowOf(after, y, b)); err != nil {
			d = recordsDiff{Object: object, Note: "not counted: " + connectors.AsError(err).Message}
			if errors.Is(err, errNotCounted) {
				d.Note = "not counted: " + err.Error()
			}
		}
		if need := missing(before, x, a) + missing(after, y, b); need != "" {
			d = recordsDiff{Object: object, Note: "not counted: it depends on" + need + "; give --claim NAME=VALUE"}
		}
		out = append(out, d)
	}
	return out
}

func readOf(v *policy.View, object string) *policy.ReadAccess {
	if a := v.Object(object); a != nil {
		return a.Read
	}
	return nil
}

// rowOf is what somebody sees, with their values in it; nothing where they may
// not read.
func rowOf(v *policy.View, read *policy.ReadAccess, p *policy.Principal) *connectors.Condition {
	if read == nil {
		return connectors.Nothing()
	}
	values, absent := v.Bind(p, time.Now())
	return policy.Constant(policy.DenyMissing(read.Row, absent), values)
}

// missing names the claims that a condition needs and nobody gave.
func missing(v *policy.View, read *policy.ReadAccess, p *policy.Principal) string {
	if read == nil {
		return ""
	}
	out := ""
	text := v.Text(read.Row)
	_, absent := v.Bind(p, time.Now())
	for i, gone := range absent {
		if name := "$claims." + v.Params[i].Name; gone && strings.Contains(text, name) && !strings.Contains(out, name) {
			out += " " + name
		}
	}
	return out
}

// count asks for both and for what both match: what one of them does not match,
// a null among it, is not what its negation does.
func (c *counter) count(ctx context.Context, d *recordsDiff, before, after *connectors.Condition) (err error) {
	source, _, _ := strings.Cut(d.Object, ".")
	coll := c.to.catalog.Collection(d.Object)
	if coll == nil || c.connectors[source] == nil || !coll.Spec.Count {
		return errNotCounted
	}
	one := func(where *connectors.Condition) (n int64) {
		if err == nil {
			n, err = countOne(ctx, c.connectors[source], coll.Name, where)
		}
		return n
	}
	d.Before, d.After = one(before), one(after)
	both := one(connectors.And(before, after))
	d.Opened, d.Closed = d.After-both, d.Before-both
	return err
}

func countOne(ctx context.Context, conn connectors.Connector, collection string, where *connectors.Condition) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, countTime)
	defer cancel()
	rows, err := conn.Query(ctx, &connectors.Query{Select: (&connectors.Select{Collection: collection, Where: where,
		Aggregate: &connectors.Aggregate{Values: []connectors.AggregateValue{{Func: connectors.AggCount}}}}).Seal()})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	block, err := rows.Next(ctx)
	if err != nil || block == nil || block.Rows() == 0 {
		return 0, err
	}
	return strconv.ParseInt(strings.Trim(string(block.Cell(0, 0)), `"`), 10, 64)
}
