package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// Links decide nothing: whatever a person's browser is made to GET, with their
// cookie and even with the header of our own pages, it changes nothing.
func TestGetChangesNothing(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.staff(t)
	n := within(t, s.site)
	lea := s.signIn(t, n, "lea@shop.example")
	a := n.must(t, s.tokens["bot"], `mutation { updateItem(id: 1, patch: {stock: {set: 7}}) { outcome proposal { id } } }`, nil)
	id := a.at("updateItem.proposal.id")
	p := n.proposal(t, lea, id)
	if p.at("proposal.canApprove.yes") != "true" {
		t.Fatalf("lea could not approve it anyway: %s", p.raw)
	}
	var device struct{ DeviceCode, UserCode string }
	_, text := n.post(t, "/auth/device", nil, `{}`)
	if err := json.Unmarshal([]byte(text), &device); err != nil || device.UserCode == "" {
		t.Fatalf("%v: %s", err, text)
	}
	approve := `mutation { approveProposal(id: "` + id + `", revision: ` + p.at("proposal.revision") + `, contentHash: "` + p.at("proposal.contentHash") +
		`", reviewHash: "` + p.at("proposal.reviewHash") + `") { state } }`
	code := url.Values{"userCode": {device.UserCode}, "UserCode": {device.UserCode}, "code": {device.UserCode}, "deviceCode": {device.DeviceCode}}.Encode()
	person := url.Values{"email": {"olga@shop.example"}, "password": {testPassword}}.Encode()
	viewer := "/graphql?query=" + url.QueryEscape(`{ viewer { id } }`)
	paths := []string{viewer, "/", "/explorer", "/sign-in?" + person, "/device?" + code, "/proposals/" + id, "/proposals/" + id + "/approve", "/p/" + id + "?approve=1",
		"/?id=" + id + "&approve=1", "/auth/sign-in?" + person, "/auth/sign-out", "/auth/link?token=x", "/auth/device", "/auth/device/token?" + code,
		"/auth/device/approve?" + code, "/graphql?query=" + url.QueryEscape(approve),
		"/graphql?query=" + url.QueryEscape(`mutation { updateItem(id: 1, patch: {stock: {set: 9}}) { outcome } }`)}
	before := n.proposal(t, lea, id).raw
	for _, method := range []string{http.MethodGet, http.MethodHead} {
		for _, path := range paths {
			req, err := http.NewRequest(method, n.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.AddCookie(&http.Cookie{Name: "countersign-session", Value: lea})
			req.Header.Set("Countersign-Csrf", "1")
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Cookies()) > 0 {
				t.Errorf("%s %s sets a cookie", method, path)
			}
			if strings.HasPrefix(path, "/auth/") && res.StatusCode < 400 {
				t.Errorf("%s %s is answered %s %s", method, path, res.Status, body)
			}
			if path == viewer {
				if method == http.MethodGet && !strings.Contains(string(body), "user:lea@shop.example") {
					t.Errorf("the cookie is nobody's: %s", body)
				}
				continue
			}
			if strings.HasPrefix(path, "/graphql") && strings.Contains(string(body), `"data"`) {
				t.Errorf("%s %s is answered %s", method, path, body)
			}
		}
	}
	if after := n.proposal(t, lea, id).raw; after != before {
		t.Errorf("the proposal was\n%s\nand is\n%s", before, after)
	}
	if _, text := n.post(t, "/auth/device/token", nil, `{"deviceCode":"`+device.DeviceCode+`"}`); !strings.Contains(text, "pending") {
		t.Errorf("the device is told %s", text)
	}
	// What a link could not do its reader can, by a request of their own.
	if a := n.must(t, lea, approve, nil); a.at("approveProposal.state") == "PENDING" {
		t.Errorf("%s", a.raw)
	}
}
