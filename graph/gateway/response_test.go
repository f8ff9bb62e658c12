package gateway

import (
	"encoding/json"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
)

// The members of an error are those that it has, and the same JSON over every
// transport.
func TestErrorMembers(t *testing.T) {
	e := Error{Message: "a \"b\"\n", Path: ast.Path{ast.PathName("x"), ast.PathIndex(2)}, Code: connectors.CodeUpstreamUnavailable, Source: "crm",
		RetryAfter: 1500 * time.Millisecond, Upstream: []byte(`{"status":503}`), Input: []string{"x", "patch"}, Because: []string{"b"}, Unblock: []string{"u"}, PolicyFinal: true}
	for name, c := range map[string]struct {
		e    Error
		want string
	}{
		"all": {e, `{"message":"a \"b\"\n","path":["x",2],"extensions":{"because":["b"],"code":"UPSTREAM_UNAVAILABLE","input":["x","patch"],"policyFinal":true,` +
			`"retryAfterMs":1500,"retryable":true,"source":"crm","traceId":"t","unblock":["u"],"upstream":{"status":503}}}`},
		"none": {Error{Message: "m"}, `{"message":"m","extensions":{"code":"INTERNAL","retryable":false,"traceId":"t"}}`},
	} {
		if got := string(c.e.appendJSON(nil, "t")); got != c.want {
			t.Errorf("%s:\n%s\n%s", name, got, c.want)
		}
		if raw, err := json.Marshal(c.e.gql("t")); err != nil || string(raw) != c.want {
			t.Errorf("%s, by the library: %v\n%s\n%s", name, err, raw, c.want)
		}
	}
}

// The media type and status of an answer.
func TestStatus(t *testing.T) {
	refused := func(c connectors.Code) *Response { return &Response{Errors: refuse(c, "m")} }
	for _, c := range []struct {
		accept string
		resp   *Response
		status int
		media  string
	}{
		{"", refused(connectors.CodeBadInput), 200, mediaJSON},
		{"*/*", refused(connectors.CodeBadInput), 200, mediaJSON},
		{mediaResponse, refused(connectors.CodeBadInput), 400, mediaResponse},
		{mediaJSON + ", " + mediaResponse + ";q=0.9", refused(connectors.CodeForbidden), 403, mediaResponse},
		{mediaJSON, refused(connectors.CodeUnauthenticated), 401, mediaJSON},
		{mediaResponse, refused(connectors.CodeTooLarge), 413, mediaResponse},
		{mediaResponse, refused(connectors.CodeInternal), 500, mediaResponse},
		{mediaResponse, &Response{Data: []byte("null"), Errors: refuse(connectors.CodeInternal, "m")}, 200, mediaResponse},
		{mediaResponse, &Response{Data: []byte("{}")}, 200, mediaResponse},
	} {
		r := httptest.NewRequest("POST", "/graphql", nil)
		r.Header.Set("Accept", c.accept)
		w := httptest.NewRecorder()
		c.resp.write(w, accepts(r))
		if w.Code != c.status || w.Header().Get("Content-Type") != c.media+"; charset=utf-8" {
			t.Errorf("%q: %d %s, not %d %s", c.accept, w.Code, w.Header().Get("Content-Type"), c.status, c.media)
		}
	}
}
