package connectors

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// A Code is one of the closed set of error codes that clients see. The list is
// relied on from outside.
type Code string

// The error codes.
const (
	CodeBadInput            Code = "BAD_INPUT"
	CodeValidationFailed    Code = "VALIDATION_FAILED"
	CodeUnauthenticated     Code = "UNAUTHENTICATED"
	CodeSignInRequired      Code = "SIGN_IN_REQUIRED"
	CodeForbidden           Code = "FORBIDDEN"
	CodeSuspended           Code = "SUSPENDED"
	CodeNotFound            Code = "NOT_FOUND"
	CodeUniqueViolation     Code = "UNIQUE_VIOLATION"
	CodeReferenceViolation  Code = "REFERENCE_VIOLATION"
	CodeCheckViolation      Code = "CHECK_VIOLATION"
	CodeVersionConflict     Code = "VERSION_CONFLICT"
	CodeRolledBack          Code = "ROLLED_BACK"
	CodeRowCapExceeded      Code = "ROW_CAP_EXCEEDED"
	CodeDepthExceeded       Code = "DEPTH_EXCEEDED"
	CodeCostExceeded        Code = "COST_EXCEEDED"
	CodeTooLarge            Code = "TOO_LARGE"
	CodeCSRFRequired        Code = "CSRF_REQUIRED"
	CodeRateLimited         Code = "RATE_LIMITED"
	CodeBudgetExhausted     Code = "BUDGET_EXHAUSTED"
	CodeTimeout             Code = "TIMEOUT"
	CodeLockTimeout         Code = "LOCK_TIMEOUT"
	CodeUpstreamError       Code = "UPSTREAM_ERROR"
	CodeUpstreamRateLimited Code = "UPSTREAM_RATE_LIMITED"
	CodeUpstreamUnavailable Code = "UPSTREAM_UNAVAILABLE"
	CodeCircuitOpen         Code = "CIRCUIT_OPEN"
	CodeContentChanged      Code = "CONTENT_CHANGED"
	CodeWrongState          Code = "WRONG_STATE"
	CodeProposalStale       Code = "PROPOSAL_STALE"
	CodeProposalExpired     Code = "PROPOSAL_EXPIRED"
	CodeNoEligibleReviewer  Code = "NO_ELIGIBLE_REVIEWER"
	CodeCannotReview        Code = "CANNOT_REVIEW"
	CodeIdempotencyMismatch Code = "IDEMPOTENCY_MISMATCH"
	CodeOutcomeUnknown      Code = "OUTCOME_UNKNOWN"
	CodePersistedNotFound   Code = "PERSISTED_NOT_FOUND"
	CodeOperationNotAllowed Code = "OPERATION_NOT_ALLOWED"
	CodeUnsupported         Code = "UNSUPPORTED"
	CodeInternal            Code = "INTERNAL"
)

// Codes lists every code, in the order of the reference.
func Codes() []Code {
	return []Code{CodeBadInput, CodeValidationFailed, CodeUnauthenticated, CodeSignInRequired, CodeForbidden,
		CodeSuspended, CodeNotFound, CodeUniqueViolation, CodeReferenceViolation, CodeCheckViolation,
		CodeVersionConflict, CodeRolledBack, CodeRowCapExceeded, CodeDepthExceeded, CodeCostExceeded, CodeTooLarge,
		CodeCSRFRequired, CodeRateLimited, CodeBudgetExhausted, CodeTimeout, CodeLockTimeout, CodeUpstreamError,
		CodeUpstreamRateLimited, CodeUpstreamUnavailable, CodeCircuitOpen, CodeContentChanged, CodeWrongState,
		CodeProposalStale, CodeProposalExpired, CodeNoEligibleReviewer, CodeCannotReview, CodeIdempotencyMismatch,
		CodeOutcomeUnknown, CodePersistedNotFound, CodeOperationNotAllowed, CodeUnsupported, CodeInternal}
}

// Retryable tells whether the same request may succeed later without a change
// of the request.
func (c Code) Retryable() bool {
	switch c {
	case CodeRateLimited, CodeBudgetExhausted, CodeTimeout, CodeLockTimeout, CodeUpstreamRateLimited, CodeUpstreamUnavailable, CodeCircuitOpen:
		return true
	}
	return false
}

// An Error is the one error type that crosses the contract.
type Error struct {
	Code Code
	// Message is safe to show to any caller: it holds no value, no name and no
	// text of the system that the caller did not send.
	Message string
	// Path leads to the input at fault: step index, then field names.
	Path []string
	// Step is the index of the step at fault in a Change; -1 or 0.
	Step       int
	RetryAfter time.Duration
	// Upstream is what the system itself said, redacted, as JSON; may be nil.
	Upstream []byte
	// Cause is for the operator's log only.
	Cause error
	// Hints for an agent: why, what would help, and whether policy is the last
	// word.
	Because     []string
	Unblock     []string
	PolicyFinal bool
	// Source the error came from, set by whoever knows.
	Source string
}

// Errorf makes an Error whose message is safe to show.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Error is the code and the safe message; the cause is left out on purpose.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// WithCause keeps the cause for the log.
func (e *Error) WithCause(err error) *Error { e.Cause = err; return e }

// At names the input at fault.
func (e *Error) At(path ...string) *Error { e.Path = path; return e }

// AsError makes any error an *Error: contexts that ended become CodeTimeout,
// whatever is not known CodeInternal with a message that says nothing.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &Error{Code: CodeTimeout, Message: "the request took too long or was cancelled", Cause: err}
	}
	return &Error{Code: CodeInternal, Message: "something went wrong inside; the log has it", Cause: err}
}

// CodeOf is the code of any error; "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return AsError(err).Code
}
