package connectortest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// Golden runs each txtar file that the pattern matches as a test of its name. run
// is given the file and says what it should be: the parts that are the case, and
// those that came out. With update that is written instead of compared.
func Golden(t *testing.T, pattern string, update bool, run func(*testing.T, *txtar.Archive) *txtar.Archive) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases %s: %v", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			want, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := run(t, &txtar.Archive{Comment: want.Comment, Files: slices.Clone(want.Files)})
			text := txtar.Format(got)
			switch {
			case bytes.Equal(text, txtar.Format(want)):
			case update:
				if err := os.WriteFile(file, text, 0o644); err != nil {
					t.Fatal(err)
				}
			default:
				differ(t, got, want)
			}
		})
	}
}

// differ tells the parts in which two archives differ.
func differ(t *testing.T, got, want *txtar.Archive) {
	t.Helper()
	for i := range max(len(got.Files), len(want.Files)) {
		var g, w txtar.File
		if i < len(got.Files) {
			g = got.Files[i]
		}
		if i < len(want.Files) {
			w = want.Files[i]
		}
		if g.Name != w.Name || !bytes.Equal(g.Data, w.Data) {
			t.Errorf("part %d, got %s:\n%s\nwanted %s:\n%s", i, g.Name, g.Data, w.Name, w.Data)
		}
	}
}

// Part is the text of a part of an archive; "" where there is none.
func Part(a *txtar.Archive, name string) string {
	for _, f := range a.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// SetPart replaces a part, or adds it at the end.
func SetPart(a *txtar.Archive, name, text string) {
	for i := range a.Files {
		if a.Files[i].Name == name {
			a.Files[i].Data = []byte(text)
			return
		}
	}
	a.Files = append(a.Files, txtar.File{Name: name, Data: []byte(text)})
}

// WithoutParts takes parts from an archive.
func WithoutParts(a *txtar.Archive, names ...string) {
	a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return slices.Contains(names, f.Name) })
}
