package sql

import (
	"context"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/countersign/countersign/connectors"
)

// pgIntrospection reads PostgreSQL's catalog in one snapshot.
type pgIntrospection struct {
	*describer
	tx      pgx.Tx
	types   map[uint32]*pgType
	byOID   map[uint32]*described
	columns map[uint32]map[int16]string
	enums   map[string]bool
}

// A pgType is a row of pg_type.
type pgType struct {
	oid, base, elem uint32
	schema, name    string
	kind, category  string
	typmod          int32
	notNull         bool
	labels          []string
	comment         string
}

// describe introspects.
func (p *pgBackend) describe(ctx context.Context, cfg *Config) (*connectors.Schema, error) {
	tx, err := p.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	in := &pgIntrospection{describer: newDescriber(cfg, postgres{}), tx: tx, types: make(map[uint32]*pgType),
		byOID: make(map[uint32]*described), columns: make(map[uint32]map[int16]string), enums: make(map[string]bool)}
	for _, step := range []func(context.Context) error{in.identity, in.readTypes, in.readTables, in.readColumns, in.readKeys, in.readReferences} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return in.finish()
}

// identity is the cluster's system identifier and the database. Where the role
// may not read the control file, the database's own oid and the oldest
// transaction of its catalog stand in: they differ between clusters in
// practice, but a copy of the data directory shares them, as it shares the
// identifier.
func (in *pgIntrospection) identity(ctx context.Context) error {
	var allowed bool
	if err := in.tx.QueryRow(ctx, `select has_function_privilege('pg_catalog.pg_control_system()', 'execute')`).Scan(&allowed); err != nil {
		return err
	}
	text := `select 'postgres:' || system_identifier || '/' || current_database() from pg_catalog.pg_control_system()`
	if !allowed {
		text = `select 'postgres:oid-' || d.oid || '-' || (select xmin from pg_catalog.pg_database where datname = 'template0') || '/' || d.datname
			from pg_catalog.pg_database d where d.datname = current_database()`
	}
	return in.tx.QueryRow(ctx, text).Scan(&in.schema.Identity)
}

// each runs a query and calls f for each row.
func (in *pgIntrospection) each(ctx context.Context, text string, dest []any, f func() error) error {
	rows, err := in.tx.Query(ctx, text)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, dest, f)
	return err
}

func (in *pgIntrospection) readTypes(ctx context.Context) error {
	var t pgType
	return in.each(ctx, `select t.oid, t.typbasetype, t.typelem, n.nspname::text, t.typname::text, t.typtype::text, t.typcategory::text, t.typtypmod, t.typnotnull,
			coalesce((select array_agg(e.enumlabel::text order by e.enumsortorder) from pg_catalog.pg_enum e where e.enumtypid = t.oid), '{}'),
			case when t.typtype in ('e', 'd') then coalesce(obj_description(t.oid, 'pg_type'), '') else '' end
		from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
		where t.oid in (select a.atttypid from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid where c.relkind in ('r', 'v', 'm', 'p', 'f') and a.attnum > 0)
			or t.typtype in ('d', 'e', 'b')`,
		[]any{&t.oid, &t.base, &t.elem, &t.schema, &t.name, &t.kind, &t.category, &t.typmod, &t.notNull, &t.labels, &t.comment}, func() error {
			kept := t
			in.types[t.oid] = &kept
			t.labels = nil
			return nil
		})
}

func (in *pgIntrospection) readTables(ctx context.Context) error {
	var oid uint32
	var schema, table, kind, comment string
	var usable, partition, sel, ins, upd, del bool
	return in.each(ctx, `select c.oid, n.nspname::text, c.relname::text, c.relkind::text, coalesce(obj_description(c.oid, 'pg_class'), ''), c.relispartition,
			has_schema_privilege(n.oid, 'usage'),
			has_any_column_privilege(c.oid, 'select'), has_any_column_privilege(c.oid, 'insert'), has_any_column_privilege(c.oid, 'update'), has_table_privilege(c.oid, 'delete')
		from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
		where c.relkind in ('r', 'v', 'm', 'p', 'f') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\_%'
			and not exists (select 1 from pg_catalog.pg_depend d where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
		order by n.nspname, c.relname`,
		[]any{&oid, &schema, &table, &kind, &comment, &partition, &usable, &sel, &ins, &upd, &del}, func() error {
			if !in.cfg.includes(schema, table, "public") || table == markerTable {
				return nil
			}
			name := collectionName(schema, table, "public")
			switch {
			case partition:
				return nil // its records are those of the partitioned table
			case !usable || !sel:
				in.leaveOut(name, "the configured role may not read it")
				return nil
			}
			isTable := kind == "r" || kind == "p"
			d := &described{coll: &connectors.Collection{Name: name, Comment: comment, View: kind == "v" || kind == "m"},
				writable: isTable, insert: ins, update: upd, remove: del, version: isTable, schema: schema, table: table}
			in.found[name], in.byOID[oid] = d, d
			in.columns[oid] = make(map[int16]string)
			return nil
		})
}

func (in *pgIntrospection) readColumns(ctx context.Context) error {
	var oid, typ uint32
	var num int16
	var name, identity, generated, comment string
	var def *string
	var notNull, readable bool
	var typmod int32
	return in.each(ctx, `select a.attrelid, a.attnum, a.attname::text, a.atttypid, a.atttypmod, a.attnotnull, a.attidentity::text, a.attgenerated::text,
			coalesce(col_description(a.attrelid, a.attnum), ''), pg_get_expr(d.adbin, d.adrelid), has_column_privilege(a.attrelid, a.attnum, 'select')
		from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid
		left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
		where a.attnum > 0 and not a.attisdropped and c.relkind in ('r', 'v', 'm', 'p', 'f') order by a.attrelid, a.attnum`,
		[]any{&oid, &num, &name, &typ, &typmod, &notNull, &identity, &generated, &comment, &def, &readable}, func() error {
			to := in.byOID[oid]
			if to == nil {
				return nil
			}
			in.columns[oid][num] = name
			path := to.coll.Name + "." + name
			if !readable {
				in.leaveOut(path, "the configured role may not read it")
				return nil
			}
			ref, domainNotNull, comment2, why := in.typeRef(typ, typmod)
			if why != "" {
				in.leaveOut(path, why)
				return nil
			}
			if comment == "" {
				comment = comment2
			}
			f := &connectors.Field{Name: name, Type: ref, Comment: comment, Nullable: to.coll.View || !(notNull || domainNotNull)}
			f.ReadOnly = generated != "" || identity == "a"
			f.Default = identity != "" || generated != ""
			if def != nil && generated == "" {
				f.Default, f.DefaultValue = constantDefault(*def, ref)
			}
			in.field(to, f)
			return nil
		})
}

// typeRef resolves a type: domains to what they rest on, arrays to lists.
func (in *pgIntrospection) typeRef(oid uint32, typmod int32) (ref connectors.TypeRef, notNull bool, comment, why string) {
	t := in.types[oid]
	for t != nil && t.kind == "d" {
		notNull = notNull || t.notNull
		if comment == "" {
			comment = t.comment
		}
		if t.typmod >= 0 {
			typmod = t.typmod
		}
		t = in.types[t.base]
	}
	if t == nil {
		return ref, false, "", "its type cannot be expressed"
	}
	if t.category == "A" && t.elem != 0 {
		elem := in.types[t.elem]
		if elem == nil || elem.kind == "d" {
			return ref, false, "", "arrays of domains and of composite types are not supported"
		}
		ref, _, _, why = in.typeRef(t.elem, typmod)
		ref.List, ref.ItemNullable, ref.Native = true, true, ref.Native+"[]"
		return ref, notNull, comment, why
	}
	switch t.kind {
	case "c":
		return ref, false, "", "composite types are not supported"
	case "p":
		return ref, false, "", "its type cannot be expressed"
	}
	ref.Native = namePart(t.name)
	if t.schema != "pg_catalog" {
		ref.Native = namePart(t.schema) + "." + ref.Native
	}
	if t.kind == "e" {
		ref.Enum = collectionName(t.schema, t.name, "public")
		if !in.enums[ref.Enum] {
			in.enums[ref.Enum] = true
			in.schema.Enums = append(in.schema.Enums, &connectors.Enum{Name: ref.Enum, Values: t.labels, Comment: t.comment})
		}
		return ref, notNull, comment, ""
	}
	known, err := postgres{}.columnType(&connectors.Field{Type: connectors.TypeRef{Native: ref.Native}})
	if err != nil {
		return ref, false, "", err.Error()
	}
	ref.Scalar = known.scalar
	if typmod >= 4 {
		switch ref.Native {
		case "varchar", "bpchar":
			ref.MaxLength = int(typmod) - 4
		case "numeric":
			// The scale is 11 bits with a sign.
			ref.Precision, ref.Scale, ref.HasScale = int(typmod-4)>>16, (int(typmod-4)&0x7ff^1024)-1024, true
		}
	}
	return ref, notNull, comment, ""
}

// fieldNames turns attribute numbers into names; nil where one is an
// expression or a system column.
func (in *pgIntrospection) fieldNames(oid uint32, nums []int16) []string {
	out := make([]string, len(nums))
	for i, n := range nums {
		if out[i] = in.columns[oid][n]; out[i] == "" {
			return nil
		}
	}
	return out
}

// readKeys reads primary keys and unique indexes over whole tables.
func (in *pgIntrospection) readKeys(ctx context.Context) error {
	var oid uint32
	var name string
	var primary bool
	var nums []int16
	return in.each(ctx, `select i.indrelid, c.relname::text, i.indisprimary, (i.indkey::int2[])[0:i.indnkeyatts-1]
		from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
		where i.indisunique and i.indisvalid and i.indpred is null and i.indexprs is null order by c.relname`,
		[]any{&oid, &name, &primary, &nums}, func() error {
			to := in.byOID[oid]
			if to == nil {
				return nil
			}
			fields := in.fieldNames(oid, nums)
			nums = nil
			switch {
			case fields == nil:
			case primary:
				to.coll.Key = fields
			default:
				to.coll.Uniques = append(to.coll.Uniques, connectors.UniqueKey{Name: name, Fields: fields})
			}
			return nil
		})
}

func (in *pgIntrospection) readReferences(ctx context.Context) error {
	var from, to uint32
	var name string
	var fields, on []int16
	return in.each(ctx, `select conrelid, conname::text, confrelid, conkey, confkey from pg_catalog.pg_constraint where contype = 'f' order by conname`,
		[]any{&from, &name, &to, &fields, &on}, func() error {
			a, b := in.byOID[from], in.byOID[to]
			if a == nil || b == nil {
				return nil
			}
			r := connectors.Reference{Name: name, Fields: in.fieldNames(from, fields), To: b.coll.Name, On: in.fieldNames(to, on)}
			fields, on = nil, nil
			if r.Fields != nil && r.On != nil {
				a.coll.References = append(a.coll.References, r)
			}
			return nil
		})
}

// constantDefault reads a default's expression: constants become values, of
// others only their presence is known.
func constantDefault(expr string, ref connectors.TypeRef) (has bool, value *connectors.Value) {
	expr = strings.TrimSpace(expr)
	for strings.HasPrefix(expr, "(") && strings.HasSuffix(expr, ")") {
		expr = strings.TrimSpace(expr[1 : len(expr)-1])
	}
	text, quoted := expr, false
	if strings.HasPrefix(expr, "'") {
		end, rest := literalEnd(expr)
		if end < 0 || (rest != "" && !strings.HasPrefix(rest, "::")) || strings.ContainsAny(rest, "|+*/(") && !strings.HasPrefix(rest, "::character varying(") && !strings.HasPrefix(rest, "::numeric(") {
			return true, nil
		}
		text, quoted = strings.ReplaceAll(expr[1:end], "''", "'"), true
	} else if i := strings.Index(expr, "::"); i >= 0 {
		text = strings.Trim(expr[:i], "()")
	}
	if !quoted && strings.EqualFold(text, "null") {
		return false, nil
	}
	if v, ok := constantOf(text, quoted, ref); ok {
		return true, &v
	}
	return true, nil
}

// literalEnd is the index of the quote that closes the literal at the start.
func literalEnd(s string) (end int, rest string) {
	for i := 1; i < len(s); i++ {
		if s[i] != '\'' {
			continue
		}
		if i+1 < len(s) && s[i+1] == '\'' {
			i++
			continue
		}
		return i, s[i+1:]
	}
	return -1, ""
}

// constantOf reads the text of a constant as a value of a type.
func constantOf(text string, quoted bool, ref connectors.TypeRef) (connectors.Value, bool) {
	if ref.List {
		return connectors.Value{}, false
	}
	if ref.Enum != "" {
		return connectors.String(text), quoted
	}
	switch ref.Scalar {
	case connectors.ScalarString:
		return connectors.String(text), quoted
	case connectors.ScalarBoolean:
		switch strings.ToLower(text) {
		case "true", "t", "1":
			return connectors.True, true
		case "false", "f", "0":
			return connectors.False, true
		}
	case connectors.ScalarInt, connectors.ScalarSafeInt, connectors.ScalarBigInt:
		if isDecimal(text) && !strings.Contains(text, ".") {
			return connectors.Value{Kind: connectors.KindInt, Text: text}, true
		}
	case connectors.ScalarDecimal:
		if isDecimal(text) {
			return connectors.Decimal(text), true
		}
	}
	return connectors.Value{}, false
}

// markerTable is the table that proves effects; it is no collection.
const markerTable = "countersign_effect"
