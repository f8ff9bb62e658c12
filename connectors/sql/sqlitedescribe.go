package sql

import (
	"context"
	stdsql "database/sql"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/countersign/countersign/connectors"
)

// liteIntrospection reads a SQLite file's metadata in one transaction.
type liteIntrospection struct {
	*describer
	tx *stdsql.Tx
	// options of each table, by name.
	keys map[string][]string
}

// describe introspects.
func (l *liteBackend) describe(ctx context.Context, cfg *Config) (*connectors.Schema, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.StatementTimeout)
	defer cancel()
	tx, err := l.db.BeginTx(ctx, &stdsql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	in := &liteIntrospection{describer: newDescriber(cfg, sqliteDialect{}), tx: tx, keys: make(map[string][]string)}
	if err := in.identity(ctx, sqlitePath(cfg.URL)); err != nil {
		return nil, err
	}
	tables, err := in.readTables(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range tables {
		if err := in.readColumns(ctx, d); err != nil {
			return nil, err
		}
	}
	for _, d := range tables {
		if err := in.readUniques(ctx, d); err != nil {
			return nil, err
		}
		if err := in.readReferences(ctx, d); err != nil {
			return nil, err
		}
	}
	in.warn()
	return in.finish()
}

// identity is the file: its absolute path, its inode where the system has
// those, and the application id written in it. A file that was put in its place
// is another system.
func (in *liteIntrospection) identity(ctx context.Context, path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return unavailable().WithCause(err)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	info, err := os.Stat(abs)
	if err != nil {
		return unavailable().WithCause(err)
	}
	var app int64
	if err := in.tx.QueryRowContext(ctx, "pragma application_id").Scan(&app); err != nil {
		return err
	}
	in.schema.Identity = "sqlite:" + abs + "#" + fileID(info) + "/" + strconv.FormatInt(app, 10)
	return nil
}

// rows reads a small answer.
func (in *liteIntrospection) rows(ctx context.Context, text string, args []any, dest []any, f func()) error {
	rows, err := in.tx.QueryContext(ctx, text, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		f()
	}
	return rows.Err()
}

func (in *liteIntrospection) readTables(ctx context.Context) ([]*described, error) {
	var name, kind string
	var list []*described
	err := in.rows(ctx, `select name, type from pragma_table_list where schema = 'main' and name not like 'sqlite\_%' escape '\' order by name`, nil,
		[]any{&name, &kind}, func() {
			if !in.cfg.includes("main", name, "main") || name == markerTable {
				return
			}
			coll := collectionName("main", name, "main")
			switch kind {
			case "shadow":
				return
			case "virtual":
				in.leaveOut(coll, "virtual tables are not supported")
				return
			}
			table := kind == "table"
			d := &described{coll: &connectors.Collection{Name: coll, View: !table}, writable: table, insert: true, update: true, remove: true,
				schema: "main", table: name}
			in.found[coll] = d
			list = append(list, d)
		})
	return list, err
}

func (in *liteIntrospection) readColumns(ctx context.Context, d *described) error {
	type keyed struct {
		place int
		name  string
	}
	var key []keyed
	var name, declared string
	var notNull, place, hidden int
	var def stdsql.NullString
	var rowid *connectors.Field
	err := in.rows(ctx, `select name, type, "notnull", dflt_value, pk, hidden from pragma_table_xinfo(?1) order by cid`, []any{d.table},
		[]any{&name, &declared, &notNull, &def, &place, &hidden}, func() {
			if hidden == 1 {
				return
			}
			f := &connectors.Field{Name: name, Type: liteTypeRef(declared), Nullable: d.coll.View || notNull == 0}
			if hidden > 1 {
				f.ReadOnly, f.Default = true, true
			}
			if def.Valid {
				f.Default, f.DefaultValue = constantDefault(liteDefault(def.String), f.Type)
			}
			if place > 0 {
				key = append(key, keyed{place, name})
				if strings.EqualFold(declared, "integer") {
					rowid = f
				}
			}
			in.field(d, f)
		})
	if err != nil {
		return err
	}
	sort.Slice(key, func(i, j int) bool { return key[i].place < key[j].place })
	for _, k := range key {
		d.coll.Key = append(d.coll.Key, k.name)
	}
	if len(key) == 1 && rowid != nil {
		// INTEGER PRIMARY KEY is the rowid: never null, and given by the system.
		rowid.Nullable, rowid.Default = false, true
	}
	in.keys[d.table] = d.coll.Key
	return nil
}

// liteDefault brings SQLite's text of a default into the form of PostgreSQL's:
// a literal may stand in double quotes there.
func liteDefault(text string) string {
	if len(text) > 1 && text[0] == '"' && text[len(text)-1] == '"' {
		return "'" + strings.ReplaceAll(strings.ReplaceAll(text[1:len(text)-1], `""`, `"`), "'", "''") + "'"
	}
	return text
}

// liteTypeRef reads a declared type such as DECIMAL(10, 2).
func liteTypeRef(declared string) connectors.TypeRef {
	ref := connectors.TypeRef{Scalar: liteScalar(declared), Native: declared}
	open := strings.IndexByte(declared, '(')
	end := strings.LastIndexByte(declared, ')')
	if open < 0 || end < open {
		return ref
	}
	first, second, two := strings.Cut(declared[open+1:end], ",")
	a, ok := digits(strings.TrimSpace(first))
	if !ok {
		return ref
	}
	switch ref.Scalar {
	case connectors.ScalarString:
		ref.MaxLength = a
	case connectors.ScalarDecimal:
		ref.Precision, ref.HasScale = a, true
		if b, ok := digits(strings.TrimSpace(second)); two && ok {
			ref.Scale = b
		}
	}
	return ref
}

func (in *liteIntrospection) readUniques(ctx context.Context, d *described) error {
	if d.coll.View {
		return nil
	}
	var index string
	var indexes []string
	if err := in.rows(ctx, `select name from pragma_index_list(?1) where "unique" = 1 and partial = 0 and origin <> 'pk' order by name`, []any{d.table},
		[]any{&index}, func() { indexes = append(indexes, index) }); err != nil {
		return err
	}
	for _, index := range indexes {
		var fields []string
		var field stdsql.NullString
		expression := false
		if err := in.rows(ctx, `select name from pragma_index_info(?1) order by seqno`, []any{index}, []any{&field}, func() {
			expression = expression || !field.Valid
			fields = append(fields, field.String)
		}); err != nil {
			return err
		}
		if !expression {
			d.coll.Uniques = append(d.coll.Uniques, connectors.UniqueKey{Name: index, Fields: fields})
		}
	}
	return nil
}

// readReferences reads foreign keys; SQLite has no names for them, and means
// the primary key where no column is named.
func (in *liteIntrospection) readReferences(ctx context.Context, d *described) error {
	var id int
	var to, from string
	var on stdsql.NullString
	type key struct {
		to           string
		fields, onTo []string
		implicit     bool
	}
	byID := make(map[int]*key)
	if err := in.rows(ctx, `select id, "table", "from", "to" from pragma_foreign_key_list(?1) order by id, seq`, []any{d.table},
		[]any{&id, &to, &from, &on}, func() {
			k := byID[id]
			if k == nil {
				k = &key{to: to}
				byID[id] = k
			}
			k.fields, k.onTo = append(k.fields, from), append(k.onTo, on.String)
			k.implicit = k.implicit || !on.Valid
		}); err != nil {
		return err
	}
	for _, k := range byID {
		// Table and column names are matched without case, as SQLite does.
		for _, t := range in.found {
			if !strings.EqualFold(t.table, k.to) {
				continue
			}
			onTo := k.onTo
			if k.implicit {
				onTo = in.keys[t.table]
			}
			fields, on := sameCase(d.coll, k.fields), sameCase(t.coll, onTo)
			if len(fields) == len(on) {
				d.coll.References = append(d.coll.References, connectors.Reference{
					Name: d.table + "_" + strings.Join(fields, "_") + "_fkey", Fields: fields, To: t.coll.Name, On: on})
			}
		}
	}
	return nil
}

// sameCase writes column names as they are declared.
func sameCase(c *connectors.Collection, names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n
		for _, f := range c.Fields {
			if strings.EqualFold(f.Name, n) {
				out[i] = f.Name
			}
		}
	}
	return out
}

// warn says where SQLite's types are not what they look like.
func (in *liteIntrospection) warn() {
	for _, d := range in.found {
		for _, f := range d.coll.Fields {
			path := d.coll.Name + "." + f.Name
			switch f.Type.Scalar {
			case connectors.ScalarDecimal:
				in.schema.Warnings = append(in.schema.Warnings, path+": SQLite keeps decimals beyond 15 digits as floating point")
			case connectors.ScalarLocalDateTime, connectors.ScalarDateTime:
				in.schema.Warnings = append(in.schema.Warnings, path+": SQLite keeps timestamps as text; a Z makes no difference, other offsets are read as null; where one column holds both a blank and a T, records of one day are ordered in two groups")
			}
		}
	}
}
