package httpcall

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Where an API key stands.
const (
	InHeader = "header"
	InQuery  = "query"
)

// Auth is how calls prove who they are. At most one of it is set.
type Auth struct {
	Bearer string
	Basic  *Basic
	APIKey *APIKey
}

// Basic is a name and a password.
type Basic struct{ User, Password string }

// An APIKey is sent as a header or a query parameter of that name.
type APIKey struct{ Name, Value, In string }

func (a *Auth) check() error {
	n := 0
	if a.Bearer != "" {
		n++
	}
	if a.Basic != nil {
		n++
	}
	if k := a.APIKey; k != nil {
		n++
		if k.Name == "" || k.Value == "" || (k.In != InHeader && k.In != InQuery) {
			return errors.New(`an API key needs a name, a value and its place, "header" or "query"`)
		}
	}
	if n > 1 {
		return errors.New("only one kind of credentials can be used for a source")
	}
	return nil
}

func (a *Auth) apply(req *http.Request) {
	switch {
	case a.Bearer != "":
		req.Header.Set("Authorization", "Bearer "+a.Bearer)
	case a.Basic != nil:
		req.SetBasicAuth(a.Basic.User, a.Basic.Password)
	case a.APIKey != nil && a.APIKey.In == InHeader:
		req.Header.Set(a.APIKey.Name, a.APIKey.Value)
	case a.APIKey != nil:
		q := req.URL.Query()
		if q.Get(a.APIKey.Name) == a.APIKey.Value {
			return
		}
		// Appended, so that the rest of the query stays as it was shown.
		add := url.QueryEscape(a.APIKey.Name) + "=" + url.QueryEscape(a.APIKey.Value)
		req.URL.RawQuery = strings.TrimPrefix(req.URL.RawQuery+"&"+add, "&")
	}
}

const redacted = "[redacted]"

// redactor replaces every secret, as it is and as it stands in addresses.
func (o *Options) redactor() *strings.Replacer {
	var secrets []string
	if o.Auth.Bearer != "" {
		secrets = append(secrets, o.Auth.Bearer)
	}
	if b := o.Auth.Basic; b != nil {
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(b.User+":"+b.Password)), b.Password)
	}
	if k := o.Auth.APIKey; k != nil {
		secrets = append(secrets, k.Value)
	}
	for _, v := range o.Headers {
		// Shorter ones are no secrets, and would eat ordinary words.
		if len(v) >= 8 {
			secrets = append(secrets, v)
		}
	}
	for _, s := range slices.Clone(secrets) {
		quoted, err := json.Marshal(s)
		if err == nil {
			secrets = append(secrets, strings.Trim(string(quoted), `"`))
		}
		secrets = append(secrets, url.QueryEscape(s), url.PathEscape(s))
	}
	// Longer ones first: a secret may be part of another.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, s := range slices.Compact(secrets) {
		if s != "" {
			pairs = append(pairs, s, redacted)
		}
	}
	return strings.NewReplacer(pairs...)
}

// clean is the error for the operator's log, without secrets. What it wraps is
// let go: it could print them.
func (c *Client) clean(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(c.secrets.Replace(err.Error()))
}

// Redact is a text without our credentials and without values of configured
// headers, however they are encoded in it.
func (c *Client) Redact(text string) string { return c.secrets.Replace(text) }

const maxUpstream = 4 << 10

// said is what the system said, as one JSON object {"status", "body"}, without
// our credentials and without members whose names look like secrets.
func (c *Client) said(status int, body []byte) []byte {
	out := map[string]any{"status": status}
	var v any
	if len(body) <= maxUpstream && json.Unmarshal(body, &v) == nil {
		out["body"] = c.redact(v, 0)
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return nil
	}
	return raw
}

func (c *Client) redact(v any, depth int) any {
	if depth > 16 {
		return nil
	}
	switch v := v.(type) {
	case string:
		return c.secrets.Replace(v)
	case []any:
		for i := range v {
			v[i] = c.redact(v[i], depth+1)
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, x := range v {
			if secretName(name) {
				x = redacted
			}
			out[c.secrets.Replace(name)] = c.redact(x, depth+1)
		}
		return out
	}
	return v
}

func secretName(name string) bool {
	name = strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(name))
	for _, part := range []string{"password", "passwd", "secret", "token", "apikey", "authorization", "cookie", "privatekey", "credential"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}
