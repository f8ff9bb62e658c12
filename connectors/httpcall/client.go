// Package httpcall holds the HTTP clients of connectors that speak HTTP: one
// that retries, for reads and for writes a system recognises by an idempotency
// key, and a bare one for every other write, which sends a request at most once
// and knows whether it can have arrived.
//
// It knows credentials and makes sure that they stand in no error, log or
// preview. It must not know any system, OpenAPI, GraphQL or proposals.
package httpcall

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/countersign/countersign/connectors"
)

// Defaults of Options.
const (
	DefaultTimeout       = 10 * time.Second
	DefaultResponseBytes = 8 << 20
	DefaultRetries       = 2
	defaultRetryMin      = 100 * time.Millisecond
	defaultRetryMax      = 2 * time.Second
)

// Options of a client. Everything but BaseURL may be left out.
type Options struct {
	// BaseURL is the address calls begin with: http or https, no query.
	BaseURL string
	Auth    Auth
	// Headers go with every call and are never shown: they may hold secrets.
	Headers map[string]string
	// Timeout bounds a call with all its repetitions; 0: 10 s.
	Timeout time.Duration
	// ResponseBytes bounds an answer after decompression; 0: 8 MiB.
	ResponseBytes int64
	// Retries is how often a call is repeated at most; 0: 2, negative: never.
	Retries int
	// RetryMin and RetryMax bound the wait before the first and before any
	// repetition; 0: 100 ms and 2 s. A longer Retry-After is not waited for.
	RetryMin, RetryMax time.Duration
	// TLS of the connections; nil: the system's roots.
	TLS *tls.Config
	// Log takes one debug line per attempt; nil: none.
	Log *slog.Logger
}

// A Kind says what may be done with a call.
type Kind uint8

// The kinds of calls.
const (
	Read            Kind = iota // no side effects: repeated, may be redirected on the same host
	IdempotentWrite             // carries a key the system knows it by: repeated with the same bytes
	Write                       // anything else that writes: sent at most once
)

// A Request is one call without credentials. It is what a preview shows.
type Request struct {
	Method string
	URL    string // absolute, see Client.URL
	Header []Pair // in the order sent; no credentials
	// Hidden headers are sent and not shown: idempotency keys, version guards.
	Hidden []Pair
	Body   []byte
}

// A Pair is a name and a value.
type Pair struct{ Name, Value string }

// Shown is the request as data for people.
func (r *Request) Shown() *connectors.Request {
	out := &connectors.Request{Method: r.Method, URL: r.URL, Body: string(r.Body)}
	for _, h := range r.Header {
		out.Header = append(out.Header, connectors.Member{Name: h.Name, Value: connectors.String(h.Value)})
	}
	return out
}

// A Response is an answer with a status of 2xx.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	// Unreadable, of a write only: it was answered as done, but the answer
	// could not be read to its end.
	Unreadable error
}

// A Client calls one system. All methods may be called concurrently.
type Client struct {
	opts    Options
	base    *url.URL
	secrets *strings.Replacer
	pooled  *http.Transport
	single  *http.Transport
	reads   *retryablehttp.Client
	writes  *retryablehttp.Client
	bare    *http.Client
}

// New makes a client; it does not connect. The error is safe to show.
func New(opts Options) (*Client, error) {
	base, err := url.Parse(opts.BaseURL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, errors.New("the address is no absolute http or https URL")
	}
	if base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		return nil, errors.New("the address must hold neither credentials, query nor fragment; credentials belong under auth")
	}
	if err := opts.Auth.check(); err != nil {
		return nil, err
	}
	for name := range opts.Headers {
		if http.CanonicalHeaderKey(name) == "Host" {
			return nil, errors.New("the header Host cannot be set")
		}
	}
	opts.defaults()
	c := &Client{opts: opts, base: base, secrets: opts.redactor()}
	c.pooled, c.single = opts.transport(), opts.transport()
	// A write that must not be repeated gets a connection of its own: a reused
	// one may be closed by the other side at any moment, and the transport
	// would send again by itself.
	c.single.DisableKeepAlives = true
	c.single.ForceAttemptHTTP2 = false
	c.single.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
	c.reads = c.retrying(&http.Client{Transport: c.pooled, CheckRedirect: c.sameOrigin})
	c.writes = c.retrying(&http.Client{Transport: c.pooled, CheckRedirect: noRedirect})
	c.bare = &http.Client{Transport: c.single, CheckRedirect: noRedirect}
	return c, nil
}

func (o *Options) defaults() {
	if o.Timeout <= 0 {
		o.Timeout = DefaultTimeout
	}
	if o.ResponseBytes <= 0 {
		o.ResponseBytes = DefaultResponseBytes
	}
	if o.Retries == 0 {
		o.Retries = DefaultRetries
	}
	o.Retries = max(o.Retries, 0)
	if o.RetryMin <= 0 {
		o.RetryMin = defaultRetryMin
	}
	if o.RetryMax <= 0 {
		o.RetryMax = defaultRetryMax
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

func (o *Options) transport() *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSClientConfig: o.TLS,
		TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: o.Timeout,
		ForceAttemptHTTP2: true, MaxIdleConns: 64, MaxIdleConnsPerHost: 32, IdleConnTimeout: 60 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// Close closes connections that are idle; calls under way end by their context.
func (c *Client) Close() {
	c.pooled.CloseIdleConnections()
	c.single.CloseIdleConnections()
}

// URL is the address of a path that begins with a slash and is escaped, with an
// encoded query.
func (c *Client) URL(path, query string) string {
	u := strings.TrimSuffix(c.base.String(), "/") + path
	if query != "" {
		u += "?" + query
	}
	return u
}

// Follow makes an absolute address of a link the system gave in its answer to
// a request for from. Links that lead to another host are refused: they would
// be sent our credentials. So are links outside of the base path.
func (c *Client) Follow(from, link string) (string, error) {
	base, err := url.Parse(from)
	if err != nil {
		return "", connectors.Errorf(connectors.CodeUpstreamError, "the source gave a link that is no address")
	}
	u, err := base.Parse(link)
	if err != nil {
		return "", connectors.Errorf(connectors.CodeUpstreamError, "the source gave a link that is no address")
	}
	if u.Scheme != c.base.Scheme || u.Host != c.base.Host || u.User != nil {
		return "", connectors.Errorf(connectors.CodeUpstreamError, "the source gave a link to another host, which is not followed")
	}
	u.Fragment = ""
	if c.opts.Auth.APIKey != nil && c.opts.Auth.APIKey.In == InQuery {
		// Systems repeat the query they were asked with; the key in it is set
		// again when the request is sent, and must not stand in addresses.
		q := u.Query()
		q.Del(c.opts.Auth.APIKey.Name)
		u.RawQuery = q.Encode()
	}
	return u.String(), nil
}

// Do sends a request and reads the answer. A status other than 2xx is an
// error, of the codes of the table in outcome.go; see also [Kind].
//
// Of a write CodeOutcomeUnknown says that the system may or may not have done
// it, and every other code that it has not.
func (c *Client) Do(ctx context.Context, kind Kind, r *Request) (*Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	call := &call{client: c, kind: kind}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { call.sent.Store(true) }})
	resp, err := call.send(ctx, r)
	if err != nil {
		if resp != nil {
			resp.Body.Close()
		}
		return nil, call.failed(ctx, err)
	}
	defer resp.Body.Close()
	body, readErr := io.ReadAll(io.LimitReader(resp.Body, c.opts.ResponseBytes+1))
	if readErr == nil && int64(len(body)) > c.opts.ResponseBytes {
		readErr = errTooLarge
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, call.refused(resp, body)
	}
	out := &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}
	switch {
	case readErr == nil:
	case kind != Read:
		out.Body, out.Unreadable = nil, readErr
	case ctx.Err() != nil:
		return nil, call.failed(ctx, ctx.Err())
	case errors.Is(readErr, errTooLarge):
		return nil, connectors.Errorf(connectors.CodeUpstreamError, "the source's answer is larger than %d bytes", c.opts.ResponseBytes)
	default:
		return nil, connectors.Errorf(connectors.CodeUpstreamUnavailable, "the source's answer broke off").WithCause(c.clean(readErr))
	}
	return out, nil
}

var errTooLarge = errors.New("the answer is larger than the limit")

// A call is one Do: what its attempts have in common.
type call struct {
	client *Client
	kind   Kind
	sent   atomic.Bool // of the attempt under way: headers were written
	doubt  atomic.Bool // an attempt before it may have been done
}

type callKey struct{}

func (k *call) send(ctx context.Context, r *Request) (*http.Response, error) {
	c := k.client
	if k.kind == Write {
		req, err := http.NewRequestWithContext(ctx, r.Method, r.URL, nil)
		if err != nil {
			return nil, err
		}
		if len(r.Body) > 0 {
			// Set by hand: without GetBody nobody can send it again.
			req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(r.Body)), int64(len(r.Body))
		}
		if err := c.prepare(req, r); err != nil {
			return nil, err
		}
		c.log(req, 0)
		return c.bare.Do(req)
	}
	ctx = context.WithValue(ctx, callKey{}, k)
	var body any
	if len(r.Body) > 0 {
		body = r.Body
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, r.Method, r.URL, body)
	if err != nil {
		return nil, err
	}
	if err := c.prepare(req.Request, r); err != nil {
		return nil, err
	}
	if k.kind == Read {
		return c.reads.Do(req)
	}
	return c.writes.Do(req)
}

// prepare sets headers and credentials.
func (c *Client) prepare(req *http.Request, r *Request) error {
	for name, value := range c.opts.Headers {
		req.Header.Set(name, value)
	}
	for _, h := range slices.Concat(r.Header, r.Hidden) {
		if strings.ContainsAny(h.Value, "\r\n\x00") {
			return connectors.Errorf(connectors.CodeBadInput, "a value that is sent as a header holds a line break")
		}
		req.Header.Add(h.Name, h.Value)
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "countersign")
	}
	c.opts.Auth.apply(req)
	return nil
}

func (c *Client) log(req *http.Request, attempt int) {
	// The query is left out: it may hold a key, and values of records.
	c.opts.Log.Debug("call", "method", req.Method, "host", req.URL.Host, "path", c.secrets.Replace(req.URL.Path), "attempt", attempt+1)
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// errRedirect ends reads that are led elsewhere.
var errRedirect = errors.New("redirected to another host, or too often")

func (c *Client) sameOrigin(req *http.Request, via []*http.Request) error {
	if req.URL.Host != c.base.Host || req.URL.Scheme != c.base.Scheme || len(via) > 3 {
		return errRedirect
	}
	c.opts.Auth.apply(req)
	return nil
}
