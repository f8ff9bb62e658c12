// Package demo is the configuration of the demo: a shop in SQLite and a help
// desk over HTTP in one graph, five people and an agent. It is what a user
// would write, as files.
//
// It must not know how the program runs it.
package demo

import (
	"embed"
	"io/fs"
)

//go:embed countersign.yaml graph.graphql policy
var files embed.FS

// Files are the files of the configuration, as they stand in its folder. In
// countersign.yaml the variables DESK_URL and DESK_TOKEN are the help desk's.
func Files() fs.FS { return files }
