package graph

import (
	_ "embed"

	"github.com/vektah/gqlparser/v2/ast"
)

//go:embed schema/control.graphqls
var controlSDL string

// ControlSDL is the control plane's schema as written.
func ControlSDL() []*ast.Source {
	return []*ast.Source{{Name: "control.graphqls", Input: controlSDL}}
}
