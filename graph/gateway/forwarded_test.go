package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
)

// The caller's address is what trusted proxies wrote, from the right, up to the
// first that is none of them.
func TestForwarded(t *testing.T) {
	g := &Gateway{cfg: Config{Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}}
	for _, c := range []struct {
		peer  string
		lists []string
		want  string
		https bool
	}{
		{"10.0.0.1:1", []string{"1.2.3.4"}, "1.2.3.4", true},
		{"10.0.0.1:1", []string{"6.6.6.6, 1.2.3.4, 10.9.9.9"}, "1.2.3.4", true},
		{"10.0.0.1:1", []string{"6.6.6.6", "1.2.3.4"}, "1.2.3.4", true},
		{"10.0.0.1:1", []string{"1.2.3.4, made up"}, "10.0.0.1", true},
		{"10.0.0.1:1", []string{"1.2.3.4, made up, 10.0.0.2"}, "10.0.0.2", true},
		{"10.0.0.1:1", nil, "10.0.0.1", true},
		{"10.0.0.1:1", []string{"[2001:db8::1]:99"}, "2001:db8::1", true},
		{"[fd00::1]:1", []string{"1.2.3.4"}, "1.2.3.4", true},
		{"[::ffff:10.0.0.1]:1", []string{"1.2.3.4:5"}, "1.2.3.4", true},
		{"1.1.1.1:1", []string{"10.0.0.5"}, "1.1.1.1", false},
		{"11.0.0.1:1", []string{"1.2.3.4"}, "11.0.0.1", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = c.peer
		r.Header["X-Forwarded-For"] = c.lists
		r.Header.Set("X-Forwarded-Proto", "HTTPS")
		out := g.behindProxy(r)
		if got := address(out); got != c.want || g.encrypted(out) != c.https {
			t.Errorf("%s with %v is %s, encrypted %v", c.peer, c.lists, got, g.encrypted(out))
		}
	}
}
