package policy

import (
	"encoding/base64"
	"math/big"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/countersign/countersign/connectors"
)

// Bind answers the values of the view's parameters for a principal, in the order
// of Params. $principal is who asks, the first of the chain; $claims are those of
// the last, the person behind an agent where there is one; $agent is the first
// agent of the chain.
//
// missing, nil where nothing is missing, marks parameters whose value is absent,
// null or of the wrong type. Their value is null. Whoever executes must pass each
// condition of the view through DenyMissing then, and refuse a write whose preset
// needs one of them.
func (v *View) Bind(p *Principal, now time.Time) (values []connectors.Value, missing []bool) {
	if v == nil || len(v.Params) == 0 {
		return nil, nil
	}
	values = make([]connectors.Value, len(v.Params))
	for i, param := range v.Params {
		value, ok := v.value(param, p, now)
		if ok {
			value, ok = fit(value, param.Type, param.List || param.Type.List)
		}
		if !ok {
			value = connectors.Null
			if missing == nil {
				missing = make([]bool, len(v.Params))
			}
			missing[i] = true
		}
		values[i] = value
	}
	return values, missing
}

func (v *View) value(param Param, p *Principal, now time.Time) (connectors.Value, bool) {
	switch {
	case param.Kind == ParamPrincipal && param.Name == "roles":
		items := make([]connectors.Value, len(v.Roles))
		for i, r := range v.Roles {
			items[i] = connectors.String(r)
		}
		return connectors.ListOf(items...), p != nil
	case param.Kind == ParamNow:
		return connectors.String(instant(param.Type.Scalar, now.UTC())), p != nil
	}
	return ValueOf(p, param.Kind, param.Name)
}

// ValueOf answers what is known of who asks: a claim, a field of the principal
// or of the agent, each of the link of the chain that Bind says. Roles and the
// time are not among them. ok is false where it is absent or null.
func ValueOf(p *Principal, kind ParamKind, name string) (value connectors.Value, ok bool) {
	if p == nil {
		return connectors.Value{}, false
	}
	text := func(s string) (connectors.Value, bool) { return connectors.String(s), s != "" }
	switch kind {
	case ParamClaim:
		chain := p.Chain()
		value, ok := chain[len(chain)-1].Claims[name]
		return value, ok && !value.IsNull()
	case ParamPrincipal:
		switch name {
		case "id":
			return text(p.ID)
		case "name":
			return text(p.Name)
		case "kind":
			return text(string(p.Kind))
		case "tenant":
			return text(p.Tenant)
		}
	case ParamAgent:
		for _, q := range p.Chain() {
			if q.Kind != Agent {
				continue
			}
			switch name {
			case "name":
				return text(q.Name)
			case "owner":
				return text(q.Owner)
			}
		}
	}
	return connectors.Value{}, false
}

func instant(s connectors.Scalar, now time.Time) string {
	switch s {
	case connectors.ScalarDate:
		return now.Format("2006-01-02")
	case connectors.ScalarLocalDateTime:
		return now.Format("2006-01-02T15:04:05.999999")
	case connectors.ScalarTime:
		return now.Format("15:04:05.999999")
	}
	return now.Format("2006-01-02T15:04:05.999999Z07:00")
}

// fit makes the value one of the type, without losing anything; ok is false where
// it is none.
func fit(v connectors.Value, t connectors.TypeRef, list bool) (connectors.Value, bool) {
	if !list {
		return fitScalar(v, t)
	}
	if v.Kind != connectors.KindList {
		return v, false
	}
	items := make([]connectors.Value, len(v.Items))
	for i, item := range v.Items {
		fitted, ok := fitScalar(item, t)
		if !ok {
			return v, false
		}
		items[i] = fitted
	}
	return connectors.ListOf(items...), true
}

func fitScalar(v connectors.Value, t connectors.TypeRef) (connectors.Value, bool) {
	switch s := t.Leaf(); s {
	case connectors.ScalarBoolean:
		return v, v.Kind == connectors.KindBool
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt:
		return fitInteger(v, s)
	case connectors.ScalarDecimal, connectors.ScalarFloat:
		switch v.Kind {
		case connectors.KindInt, connectors.KindFloat, connectors.KindDecimal, connectors.KindString:
		default:
			return v, false
		}
		if _, ok := number(v.Text); !ok {
			return v, false
		}
		if s == connectors.ScalarFloat {
			return connectors.Value{Kind: connectors.KindFloat, Text: v.Text}, v.Kind != connectors.KindString
		}
		return connectors.Decimal(v.Text), true
	case connectors.ScalarID:
		return connectors.String(v.Text), v.Kind == connectors.KindString || v.Kind == connectors.KindInt
	case connectors.ScalarUUID:
		id, err := uuid.Parse(v.Text)
		return connectors.String(id.String()), err == nil && v.Kind == connectors.KindString && len(v.Text) == 36
	case connectors.ScalarBytes:
		_, err := base64.StdEncoding.DecodeString(v.Text)
		return connectors.Value{Kind: connectors.KindBytes, Text: v.Text}, err == nil && (v.Kind == connectors.KindString || v.Kind == connectors.KindBytes)
	case connectors.ScalarDate, connectors.ScalarDateTime, connectors.ScalarLocalDateTime, connectors.ScalarTime:
		return v, v.Kind == connectors.KindString && isInstant(s, v.Text)
	case connectors.ScalarString, connectors.ScalarDuration:
		return v, v.Kind == connectors.KindString
	}
	return v, false
}

func fitInteger(v connectors.Value, s connectors.Scalar) (connectors.Value, bool) {
	if v.Kind != connectors.KindInt && (v.Kind != connectors.KindString || s != connectors.ScalarBigInt) || len(v.Text) > 400 {
		return v, false
	}
	n, ok := new(big.Int).SetString(v.Text, 10)
	if !ok || strings.HasPrefix(v.Text, "+") {
		return v, false
	}
	bits := 1 << 20
	switch s {
	case connectors.ScalarInt:
		bits = 31
	case connectors.ScalarSafeInt:
		bits = 53
	}
	return connectors.Value{Kind: connectors.KindInt, Text: n.String()}, n.BitLen() <= bits
}

func isInstant(s connectors.Scalar, text string) bool {
	layout := map[connectors.Scalar]string{
		connectors.ScalarDate: "2006-01-02", connectors.ScalarDateTime: time.RFC3339Nano,
		connectors.ScalarLocalDateTime: "2006-01-02T15:04:05", connectors.ScalarTime: "15:04:05",
	}[s]
	_, err := time.Parse(layout, text)
	return err == nil
}

// DenyMissing rewrites a condition of a view so that a line that needs a missing
// parameter contributes nothing: what it would let is not let, and what it would
// deny or have proposed is denied or proposed, for every record. missing marks
// arguments by their position in the table that the operands index (those beyond
// it are not missing). With nothing missing, or where no missing one is used, the
// condition comes back as it is.
//
// Lines are known by their fences. Outside of them, and so in any other
// condition, the smallest comparison that needs a missing argument is taken for
// false, and under an odd number of nots for true, so that it never helps to
// match.
func DenyMissing(c *connectors.Condition, missing []bool) *connectors.Condition {
	if !uses(c, missing) {
		return c
	}
	return deny(c, missing, false)
}

func uses(c *connectors.Condition, missing []bool) bool {
	if c == nil || len(missing) == 0 {
		return false
	}
	if a := c.Operand.Arg; a > 0 && a <= len(missing) && missing[a-1] {
		return true
	}
	for _, i := range c.Items {
		if uses(i, missing) {
			return true
		}
	}
	return uses(c.Inner, missing) || c.Relation != nil && uses(c.Relation.Where, missing)
}

// deny makes c match less, or more where it is negated.
func deny(c *connectors.Condition, missing []bool, negated bool) *connectors.Condition {
	if !uses(c, missing) {
		return c
	}
	out := *c
	switch {
	case c.Op == connectors.OpNot:
		out.Items = nil
		for _, i := range c.Items {
			out.Items = append(out.Items, deny(i, missing, !negated))
		}
		return &out
	case c.Op == connectors.OpAnd || c.Op == connectors.OpOr && !isFence(c):
		out.Items = nil
		for _, i := range c.Items {
			out.Items = append(out.Items, deny(i, missing, negated))
		}
		return &out
	case c.Op == connectors.OpRelated && !uses(c.Inner, missing):
		// Only the caller's own row condition on the related records lacks a
		// parameter: what may not be read is not there.
		r := *c.Relation
		r.Where = deny(r.Where, missing, false)
		out.Relation = &r
		return &out
	case negated:
		return &connectors.Condition{Op: connectors.OpTrue}
	}
	return connectors.Nothing()
}

// Constant is a copy of a condition whose operands are constants: the values of
// one principal.
func Constant(c *connectors.Condition, params []connectors.Value) *connectors.Condition {
	if c == nil {
		return nil
	}
	out := *c
	if c.Operand.Arg > 0 {
		out.Operand = connectors.Const(c.Operand.Value(params))
	}
	out.Inner = Constant(c.Inner, params)
	if len(c.Items) > 0 {
		out.Items = make([]*connectors.Condition, len(c.Items))
		for i, item := range c.Items {
			out.Items[i] = Constant(item, params)
		}
	}
	if c.Relation != nil {
		r := *c.Relation
		r.Where = Constant(r.Where, params)
		out.Relation = &r
	}
	return &out
}
