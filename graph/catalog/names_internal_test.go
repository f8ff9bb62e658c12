package catalog

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestWords(t *testing.T) {
	for name, want := range map[string]string{
		"customer_id": "customer id", "CustomerID": "customer id", "HTTPServer": "http server", "InvoiceLine": "invoice line",
		"tbl_InvPos": "tbl inv pos", "sales.orders": "sales orders", "2fa": "2fa", "__v": "v", "a--b": "a b", "Straße": "strasse",
		"Übung": "uebung", "%": "u25", "": "u0", "naïve café": "naive cafe", "v1_2": "v1 2", "ID": "id", "名前": "u540du524d",
	} {
		if got := strings.Join(words(name), " "); got != want {
			t.Errorf("words(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestBaseNames(t *testing.T) {
	for _, c := range []struct{ system, typ, single, plural string }{
		{"customers", "Customer", "customer", "customers"},
		{"Artist", "Artist", "artist", "artists"},
		{"order_lines", "OrderLine", "orderLine", "orderLines"},
		{"tbl_inv_pos", "TblInvPos", "tblInvPos", "tblInvPosList"},
		{"news", "News", "news", "newsList"},
		{"people", "Person", "person", "people"},
		{"status", "Status", "status", "statuses"},
		{"statuses", "Status", "status", "statuses"},
		{"addresses", "Address", "address", "addresses"},
		{"address", "Address", "address", "addresses"},
		{"categories", "Category", "category", "categories"},
		{"caches", "Cache", "cache", "caches"},
		{"archives", "Archive", "archive", "archives"},
		{"curves", "Curve", "curve", "curves"},
		{"knives", "Knife", "knife", "knives"},
		{"movies", "Movie", "movie", "movies"},
		{"data", "Data", "data", "dataList"},
		{"metadata", "Metadata", "metadata", "metadataList"},
		{"quota", "Quota", "quota", "quotas"},
		{"schemas", "Schema", "schema", "schemas"},
		{"analyses", "Analysis", "analysis", "analyses"},
		{"boxes", "Box", "box", "boxes"},
		{"indices", "Index", "index", "indices"},
		{"human", "Human", "human", "humans"},
		{"bus", "Bus", "bus", "buses"},
		{"bonuses", "Bonus", "bonus", "bonuses"},
		{"equipment", "Equipment", "equipment", "equipmentList"},
		{"MediaType", "MediaType", "mediaType", "mediaTypes"},
		{"PlaylistTrack", "PlaylistTrack", "playlistTrack", "playlistTracks"},
		{"sales.orders", "SalesOrder", "salesOrder", "salesOrders"},
		{"2023_sales", "_2023Sale", "_2023Sale", "_2023Sales"},
		{"heroes", "Hero", "hero", "heroes"},
		{"databases", "Database", "database", "databases"},
		{"purchases", "Purchase", "purchase", "purchases"},
		{"drives", "Drive", "drive", "drives"},
		{"access", "Access", "access", "accessList"},
	} {
		one, many := baseNames(c.system)
		if pascal(one) != c.typ || camel(one) != c.single || camel(many) != c.plural {
			t.Errorf("%s: %s %s %s, want %s %s %s", c.system, pascal(one), camel(one), camel(many), c.typ, c.single, c.plural)
		}
	}
}

// Any name gives valid names of GraphQL, and single and plural differ.
func TestNamesAreValid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		one, many := baseNames(name)
		for _, n := range []string{pascal(one), camel(one), camel(many), upper(name), camel(words(name))} {
			if !validName(n) {
				t.Fatalf("%q gives %q", name, n)
			}
		}
		if camel(one) == camel(many) {
			t.Fatalf("%q: single and plural are %q", name, camel(one))
		}
	})
}

func TestReserved(t *testing.T) {
	for name, want := range map[string]bool{
		"Proposal": true, "Proposals": true, "ProposalsArchive": true, "Writer": false, "Write": true, "WriteLog": true, "Writeable": false,
		"Viewer": true, "ViewerThing": false, "Countersign": true, "Countersigned": true, "Date": true, "Dates": false,
		"IntComparison": true, "StringComparisonEqIn": true, "IntChange": true, "Interchange": false, "Node": true, "NodeGroup": false,
		"Query": true, "Customer": false,
	} {
		if got := reservedType(name); got != want {
			t.Errorf("reservedType(%q) = %v", name, got)
		}
	}
	for name, want := range map[string]bool{
		"proposal": true, "proposalsList": true, "viewer": true, "viewers": false, "node": true, "nodes": false,
		"approveProposal": true, "countersignThing": true, "countersigned": false, "customer": false,
	} {
		if got := reservedRoot(name); got != want {
			t.Errorf("reservedRoot(%q) = %v", name, got)
		}
	}
}

func TestLooksSecret(t *testing.T) {
	for name, want := range map[string]bool{
		"password": true, "pw_hash": true, "apiKey": true, "IBAN": true, "access_token": true, "ssn": true, "name": false,
		"key": false, "hash": false, "tokenized": false, "client_secret": true, "sort_key": false, "pinned": false,
	} {
		if got := looksSecret(name); got != want {
			t.Errorf("looksSecret(%q) = %v", name, got)
		}
	}
}
