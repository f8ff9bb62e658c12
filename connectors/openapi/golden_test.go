package openapi_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/connectors/openapi"
)

var update = flag.Bool("update", false, "write the golden files")

// TestGolden: a document (openapi.yaml) and a configuration (config.json, as
// openapi.Config) become a summary of the schema, or an error.
func TestGolden(t *testing.T) {
	connectortest.Golden(t, "testdata/*.txtar", *update, func(t *testing.T, a *txtar.Archive) *txtar.Archive {
		cfg := openapi.Config{Name: "golden", BaseURL: "https://api.example"}
		for _, f := range a.Files {
			switch f.Name {
			case "openapi.yaml", "openapi.json":
				cfg.SpecData = f.Data
			case "config.json":
				if err := json.Unmarshal(f.Data, &cfg); err != nil {
					t.Fatal(err)
				}
			}
		}
		connectortest.SetPart(a, "summary", summarize(cfg))
		return a
	})
}

func summarize(cfg openapi.Config) string {
	src, err := openapi.Open(cfg, nil)
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	defer src.Close()
	schema, err := src.Describe(context.Background())
	if err != nil {
		return fmt.Sprintf("error: %v\n", err)
	}
	var b strings.Builder
	for _, c := range schema.Collections {
		fmt.Fprintf(&b, "collection %s key=%v get=%t list=%t bind=%v", c.Name, c.Key, c.Get, c.List, c.BindFields)
		for _, kind := range []connectors.StepKind{connectors.Create, connectors.Update, connectors.Delete} {
			if a := c.Acts[kind]; a != nil {
				fmt.Fprintf(&b, " %s=%s/%s", kind, a.Class, a.Preview)
			}
		}
		if c.HasVersion {
			b.WriteString(" versions")
		}
		b.WriteString("\n")
		for _, f := range c.Fields {
			fmt.Fprintf(&b, "\t%s\n", field(f))
		}
	}
	for _, f := range schema.Functions {
		fmt.Fprintf(&b, "function %s %s ", f.Name, f.Call)
		if f.Reads {
			b.WriteString("reads\n")
		} else {
			fmt.Fprintf(&b, "writes %s\n", f.Act.Class)
		}
		for _, a := range f.Args {
			fmt.Fprintf(&b, "\targ %s\n", field(a))
		}
		if f.Result == nil {
			b.WriteString("\tanswers nothing\n")
		} else {
			fmt.Fprintf(&b, "\tanswers %s\n", typeText(*f.Result, f.Nullable))
		}
	}
	for _, o := range schema.Objects {
		fmt.Fprintf(&b, "object %s\n", o.Name)
		for _, f := range o.Fields {
			fmt.Fprintf(&b, "\t%s\n", field(f))
		}
	}
	for _, e := range schema.Enums {
		fmt.Fprintf(&b, "enum %s %s\n", e.Name, strings.Join(e.Values, " "))
	}
	for _, o := range schema.LeftOut {
		fmt.Fprintf(&b, "left out: %s: %s\n", o.Path, o.Reason)
	}
	for _, w := range schema.Warnings {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}

func field(f *connectors.Field) string {
	s := f.Name + " " + typeText(f.Type, f.Nullable)
	if f.DefaultValue != nil {
		s += " = " + f.DefaultValue.Text
	} else if f.Default {
		s += " default"
	}
	for _, x := range []struct {
		on   bool
		name string
	}{{f.ReadOnly, "readOnly"}, {f.CreateOnly, "createOnly"}, {f.WriteOnly, "writeOnly"}, {f.Deprecated, "deprecated"}} {
		if x.on {
			s += " " + x.name
		}
	}
	if len(f.Filter) > 0 {
		s += " " + fmt.Sprint(f.Filter)
	}
	return s
}

func typeText(t connectors.TypeRef, nullable bool) string {
	s := string(t.Scalar)
	switch {
	case t.Object != "":
		s = "object " + t.Object
	case t.Enum != "":
		s = "enum " + t.Enum
	case t.MaxLength > 0:
		s += fmt.Sprintf("(%d)", t.MaxLength)
	}
	if t.List {
		if !t.ItemNullable {
			s += "!"
		}
		s = "[" + s + "]"
	}
	if !nullable {
		s += "!"
	}
	return s
}
