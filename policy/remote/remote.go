// Package remote asks validators that are services of their own: one signed POST
// each, to an address of the policy. Questions are signed as Standard Webhooks
// are. It must not know what is asked, nor what follows from an answer.
package remote

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/countersign/countersign/policy"
)

// MaxAnswer is the size in bytes above which an answer is none.
const MaxAnswer = 64 << 10

// An Asker implements policy.Asker. The zero value is ready, and safe for
// concurrent use. Every question has a connection of its own.
type Asker struct {
	// Now is the clock of signatures; nil: time.Now.
	Now func() time.Time
	// Transport changes what connects, such as the certificates that are trusted;
	// nil: nothing.
	Transport func(*http.Transport)
}

var _ policy.Asker = (*Asker)(nil)

// Ask sends one question. It fails unless the answer is 200 with a JSON object
// {ok, say?, path?} and nothing else; redirects are not followed. Only where the
// connection was refused, so that nothing was sent, it tries once more.
func (a *Asker) Ask(ctx context.Context, r *policy.Remote, body []byte) (*policy.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, r.Deadline)
	defer cancel()
	id := "msg_" + rand.Text()
	answer, err := a.post(ctx, r, id, body)
	if errors.Is(err, syscall.ECONNREFUSED) {
		answer, err = a.post(ctx, r, id, body)
	}
	return answer, err
}

func (a *Asker) post(ctx context.Context, r *policy.Remote, id string, body []byte) (*policy.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if req.URL.Scheme != "https" && !(req.URL.Scheme == "http" && policy.Loopback(req.URL.Hostname())) {
		return nil, errors.New("a validator is asked over https")
	}
	now := time.Now
	if a.Now != nil {
		now = a.Now
	}
	at := strconv.FormatInt(now().Unix(), 10)
	signature, err := sign(r.Secret, id, at, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("webhook-id", id)
	req.Header.Set("webhook-timestamp", at)
	req.Header.Set("webhook-signature", "v1,"+signature)
	transport := a.transport(r, req.URL)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the validator answered %d", res.StatusCode)
	}
	raw, err := io.ReadAll(io.LimitReader(res.Body, MaxAnswer+1))
	if err != nil {
		return nil, err
	}
	return read(raw)
}

// sign is the HMAC of Standard Webhooks. A secret that begins with whsec_ is
// base64 behind that, as its libraries have it; another one is taken as it is.
func sign(secret, id, at string, body []byte) (string, error) {
	key := []byte(secret)
	if encoded, ok := strings.CutPrefix(secret, "whsec_"); ok {
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return "", errors.New("the secret begins with whsec_ and is no base64")
		}
		key = raw
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + at + "."))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil)), nil
}

// read takes an answer that is exactly of the documented form.
func read(raw []byte) (*policy.Answer, error) {
	if len(raw) > MaxAnswer {
		return nil, errors.New("the answer is too large")
	}
	var in struct {
		OK   *bool  `json:"ok"`
		Say  string `json:"say"`
		Path string `json:"path"`
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return nil, fmt.Errorf("the answer is not {ok, say, path}: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the answer")
	}
	if in.OK == nil {
		return nil, errors.New("the answer does not say whether it is ok")
	}
	return &policy.Answer{OK: *in.OK, Say: in.Say, Path: in.Path}, nil
}

// transport connects to permitted addresses alone. The address that is looked at
// is the one that is connected to: a name that answers differently the second
// time gains nothing.
func (a *Asker) transport(r *policy.Remote, u *url.URL) *http.Transport {
	local := policy.Loopback(u.Hostname())
	dialer := &net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return err
		}
		if addr := at.Addr().WithZone("").Unmap(); !permitted(addr, local, r.Allow) {
			return fmt.Errorf("the validator's address %s is not one of the internet: list it under allow", addr)
		}
		return nil
	}}
	t := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: 32 << 10, DisableCompression: true}
	if a.Transport != nil {
		a.Transport(t)
	}
	return t
}

// permitted tells whether an address may be connected to.
func permitted(addr netip.Addr, local bool, allow []netip.Prefix) bool {
	if local || addr.IsLoopback() {
		return local && addr.IsLoopback()
	}
	if slices.ContainsFunc(allow, func(p netip.Prefix) bool { return p.Contains(addr) }) {
		return true
	}
	return addr.IsGlobalUnicast() && !addr.IsPrivate() && !slices.ContainsFunc(reserved(), func(p netip.Prefix) bool { return p.Contains(addr) })
}

// reserved are networks that are no part of the internet, or lead to such ones
// by translation, beside those that netip knows.
func reserved() []netip.Prefix {
	var out []netip.Prefix
	for _, text := range []string{"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"240.0.0.0/4", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/23", "2001:db8::/32", "2002::/16", "fec0::/10"} {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}
