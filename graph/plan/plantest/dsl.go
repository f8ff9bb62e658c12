package plantest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/countersign/countersign/connectors"
	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/graph/catalog"
)

// parseSources reads schemas in the language of [connectortest.ParseSources].
// They declare everything the connector in memory can do, less what flags take
// away:
//
//	source crm prefix=p nosnapshot norelated noatomic maxbind=2
//	collection customers noacts nokeyset class=unverifiable
func parseSources(text string) ([]catalog.Source, error) {
	described, err := connectortest.ParseSources(text, func(c *connectors.Collection, flags connectortest.Flags) {
		connectortest.FullSchema(c)
		c.Paging.Keyset = !flags.Has("nokeyset")
		if flags.Has("noacts") {
			c.Acts = nil
		}
		for _, a := range c.Acts {
			if class := flags["class"]; class != "" {
				a.Class = connectors.OutcomeClass(class)
			}
		}
	})
	var sources []catalog.Source
	for _, d := range described {
		s := d.Schema
		s.Identity = "memory"
		s.Capabilities = connectors.Capabilities{Atomic: !d.Flags.Has("noatomic"), Snapshot: !d.Flags.Has("nosnapshot"),
			Watch: true, Related: !d.Flags.Has("norelated")}
		if d.Flags.Has("maxbind") {
			if _, err := fmt.Sscan(d.Flags["maxbind"], &s.Capabilities.MaxBind); err != nil {
				return nil, fmt.Errorf("maxbind of %s: %w", d.Name, err)
			}
		}
		slices.SortFunc(s.Collections, func(a, b *connectors.Collection) int { return strings.Compare(a.Name, b.Name) })
		sources = append(sources, catalog.Source{Name: d.Name, Prefix: d.Flags["prefix"], Schema: s})
	}
	return sources, err
}
