package httpcall

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/countersign/countersign/connectors"
)

// retrying makes the client that repeats.
func (c *Client) retrying(inner *http.Client) *retryablehttp.Client {
	r := retryablehttp.NewClient()
	r.HTTPClient = inner
	r.Logger = nil // its lines would hold addresses with their query
	r.RetryMax = c.opts.Retries
	r.RetryWaitMin, r.RetryWaitMax = c.opts.RetryMin, c.opts.RetryMax
	r.CheckRetry = c.again
	r.Backoff = backoff
	r.ErrorHandler = retryablehttp.PassthroughErrorHandler
	r.RequestLogHook = func(_ retryablehttp.Logger, req *http.Request, attempt int) { c.log(req, attempt) }
	return r
}

// again decides whether an attempt is repeated, and remembers whether it may
// have been done.
func (c *Client) again(ctx context.Context, resp *http.Response, err error) (bool, error) {
	call, _ := ctx.Value(callKey{}).(*call)
	if call == nil {
		return false, err
	}
	if call.sent.Swap(false) && ambiguous(resp, err) {
		call.doubt.Store(true)
	}
	// An answer that stands is never given up for a context that ended since:
	// it may be all that is known of a write.
	more := c.worthwhile(resp, err)
	if more && ctx.Err() != nil {
		return false, ctx.Err()
	}
	return more, nil
}

// worthwhile tells whether another attempt may end otherwise.
func (c *Client) worthwhile(resp *http.Response, err error) bool {
	if err != nil {
		return !hopeless(err)
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		// Nobody waits longer than for any other repetition: the caller is told
		// when to come back instead.
		return retryAfter(resp) <= c.opts.RetryMax
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// ambiguous tells whether a request that was sent may have been done.
func ambiguous(resp *http.Response, err error) bool {
	if err != nil || resp == nil {
		return true
	}
	s := resp.StatusCode
	switch s {
	case http.StatusRequestTimeout:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return s >= 500 || (s >= 300 && s < 400)
}

// hopeless errors come again with every attempt.
func hopeless(err error) bool {
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	var ours *connectors.Error
	return errors.Is(err, errRedirect) || errors.As(err, &authority) || errors.As(err, &hostname) ||
		errors.As(err, &invalid) || errors.As(err, &verify) || errors.As(err, &ours)
}

// backoff waits a random part of a bound that doubles (full jitter), or what
// the system asks for.
func backoff(least, most time.Duration, attempt int, resp *http.Response) time.Duration {
	bound := most
	if attempt < 16 && least<<attempt < most {
		bound = least << attempt
	}
	wait := rand.N(bound + 1)
	if resp != nil {
		wait = max(wait, retryAfter(resp))
	}
	return wait
}

// retryAfter is what the header says, 0 without one: seconds, or a time.
func retryAfter(resp *http.Response) time.Duration {
	v := resp.Header.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil && n >= 0 {
		return time.Duration(min(n, 24*3600)) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(t), 0), 24*time.Hour)
	}
	return 0
}

// failed is the error of a call that got no answer.
func (k *call) failed(ctx context.Context, err error) error {
	var ours *connectors.Error
	if errors.As(err, &ours) {
		return ours
	}
	cause := k.client.clean(err)
	if k.kind != Read && (k.sent.Load() || k.doubt.Load()) {
		return unknown().WithCause(cause)
	}
	if ctx.Err() != nil {
		return connectors.Errorf(connectors.CodeTimeout, "the source did not answer in time").WithCause(cause)
	}
	if errors.Is(err, errRedirect) {
		return connectors.Errorf(connectors.CodeUpstreamError, "the source leads elsewhere, which is not followed").WithCause(cause)
	}
	return connectors.Errorf(connectors.CodeUpstreamUnavailable, "the source cannot be reached").WithCause(cause)
}

func unknown() *connectors.Error {
	return connectors.Errorf(connectors.CodeOutcomeUnknown, "the request was sent, and whether the source did it is not known")
}

// refused is the error of an answer that is not 2xx.
//
//	401, 403          UPSTREAM_ERROR         the source refuses our credential
//	404, 410          NOT_FOUND
//	409, 412          VERSION_CONFLICT
//	400, 422          VALIDATION_FAILED
//	413               TOO_LARGE
//	429               UPSTREAM_RATE_LIMITED  with RetryAfter
//	3xx, 408, 5xx     UPSTREAM_UNAVAILABLE of a read (3xx UPSTREAM_ERROR), OUTCOME_UNKNOWN of a write: a
//	                  server that fails may have failed after the effect
//	501, 505, others  UPSTREAM_ERROR
//
// Where an earlier attempt of a repeated write may have been done, only 2xx
// tells anything, and everything else is OUTCOME_UNKNOWN.
func (k *call) refused(resp *http.Response, body []byte) error {
	e := k.answered(resp)
	e.Upstream = k.client.said(resp.StatusCode, body)
	e.RetryAfter = retryAfter(resp)
	return e
}

func (k *call) answered(resp *http.Response) *connectors.Error {
	if k.kind != Read && (k.doubt.Load() || ambiguous(resp, nil)) {
		return unknown()
	}
	code, message := connectors.CodeUpstreamError, "the source refuses the request"
	switch s := resp.StatusCode; s {
	case http.StatusUnauthorized, http.StatusForbidden:
		message = "the source refuses our credential"
	case http.StatusNotFound, http.StatusGone:
		code, message = connectors.CodeNotFound, "the source has no such record"
	case http.StatusConflict, http.StatusPreconditionFailed:
		code, message = connectors.CodeVersionConflict, "the source says that the record is in another state"
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		code, message = connectors.CodeValidationFailed, "the source does not accept the values"
	case http.StatusRequestEntityTooLarge:
		code, message = connectors.CodeTooLarge, "the request is too large for the source"
	case http.StatusTooManyRequests:
		code, message = connectors.CodeUpstreamRateLimited, "the source asks to slow down"
	default:
		switch {
		case s == http.StatusRequestTimeout || s >= 500 && ambiguous(resp, nil):
			code, message = connectors.CodeUpstreamUnavailable, "the source fails at the moment"
		case s >= 300 && s < 400:
			message = "the source leads elsewhere, which is not followed"
		}
	}
	return connectors.Errorf(code, "%s", message)
}
