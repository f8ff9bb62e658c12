package openapi_test

import (
	"testing"

	"github.com/countersign/countersign/connectors/connectortest"
	"github.com/countersign/countersign/connectors/openapi"
)

// TestConformance runs the suite over APIs made in different ways, described in
// both versions of OpenAPI.
func TestConformance(t *testing.T) {
	for name, api := range map[string]*suiteAPI{
		"3.1, cursors, a batch, versions, keys": {version: "3.1.0", style: openapi.PageCursor, batch: true, etag: true, keyed: true},
		"3.0, pages, nested, partial":           {version: "3.0.3", style: openapi.PageNumber, nested: true, partial: true},
	} {
		t.Run(name, func(t *testing.T) {
			api.start(t)
			connectortest.Run(t, connectortest.Harness{Open: api.open})
		})
	}
}

// TestReadsConform runs the reading part over the other styles of paging, and
// TestWritesConform the writing part over the other ways to write.
func TestReadsConform(t *testing.T) {
	for name, api := range map[string]*suiteAPI{
		"offsets":            {version: "3.0.3", style: openapi.PageOffset, batch: true},
		"links and versions": {version: "3.1.0", style: openapi.PageLink, etag: true},
		"cursors as links":   {version: "3.0.3", style: openapi.PageCursor, asLink: true},
		"no pages":           {version: "3.1.0", style: openapi.PageNone, nested: true, batch: true},
	} {
		t.Run(name, func(t *testing.T) {
			api.start(t)
			connectortest.RunReads(t, connectortest.Harness{Open: api.open})
		})
	}
}

func TestWritesConform(t *testing.T) {
	for name, api := range map[string]*suiteAPI{
		"keys without versions": {version: "3.0.3", style: openapi.PageNone, keyed: true},
		"versions without keys": {version: "3.1.0", style: openapi.PageNone, nested: true, etag: true},
	} {
		t.Run(name, func(t *testing.T) {
			api.start(t)
			connectortest.RunWrites(t, connectortest.Harness{Open: api.open})
		})
	}
}
