package gateway

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/countersign/countersign/connectors"
)

// TestWrongBytesAreRefused: nothing is put in the place of wrong bytes.
func TestWrongBytesAreRefused(t *testing.T) {
	for _, body := range []string{"{\"query\":\"{ a(b: \\\"\xff\\\") }\"}", "{\"query\":\"{ a }\"}\xc3", "{\"query\":\"\xe2\x82", "{\"query\":\"{ a }\",\"variables\":{\"x\":\"\xed\xa0\x80\"}}"} {
		r := httptest.NewRequest("POST", "/graphql", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		if req, _, errs := readPost(httptest.NewRecorder(), r, &Limits{Body: 1000, Batch: 1}); len(errs) == 0 || errs[0].Code != connectors.CodeBadInput {
			t.Errorf("%q was read as %+v, %+v", body, req, errs)
		}
	}
	for _, query := range []string{"query=%ff", "query=%7Ba%7D&variables=%7B%22x%22%3A%22%ff%22%7D", "query=%7Ba%7D&operationName=%c3"} {
		if req, errs := readGet(httptest.NewRequest("GET", "/graphql?"+query, nil), 1000); len(errs) == 0 || errs[0].Code != connectors.CodeBadInput {
			t.Errorf("%q was read as %+v, %+v", query, req, errs)
		}
	}
	r := httptest.NewRequest("POST", "/graphql", strings.NewReader(`{"query":"{ ü€😀 }"}`))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	if req, _, errs := readPost(httptest.NewRecorder(), r, &Limits{Body: 1000, Batch: 1}); errs != nil || req.Query != "{ ü€😀 }" {
		t.Errorf("good bytes were read as %+v, %+v", req, errs)
	}
}
