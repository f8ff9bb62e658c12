package gateway

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/countersign/countersign/connectors"
)

// maxErrors bounds how many errors one answer lists.
const maxErrors = 20

// An Error is one error of an answer, as GraphQL has them.
type Error struct {
	Message    string
	Path       ast.Path
	Locations  []gqlerror.Location
	Code       connectors.Code
	Source     string
	RetryAfter time.Duration
	Upstream   []byte
	// Input leads to the input at fault, from the root field's response key.
	Input []string
	// Because, Unblock and PolicyFinal tell an agent what to do.
	Because     []string
	Unblock     []string
	PolicyFinal bool
	// hidden are what a document named that the caller may not know of: for the
	// audit log, and no part of the answer.
	hidden []hiddenElement
}

func refuse(code connectors.Code, format string, args ...any) []Error {
	return []Error{{Message: fmt.Sprintf(format, args...), Code: code}}
}

// fromError makes an answer's error of any error; what is not ours says
// nothing of itself.
func fromError(err error, path ast.Path) Error {
	e := connectors.AsError(err)
	return Error{Message: e.Message, Path: path, Code: e.Code, Source: e.Source, RetryAfter: e.RetryAfter,
		Upstream: e.Upstream, Because: e.Because, Unblock: e.Unblock, PolicyFinal: e.PolicyFinal}
}

func locations(ge *gqlerror.Error) []gqlerror.Location { return ge.Locations }

func isTokenLimit(message string) bool { return strings.Contains(message, "token limit") }

func isNestingLimit(message string) bool { return strings.Contains(message, "nesting depth") }

// extensions are the members every error has, and those it may have.
func (e *Error) extensions(traceID string) map[string]any {
	code := e.Code
	if code == "" {
		code = connectors.CodeInternal
	}
	out := map[string]any{"code": string(code), "retryable": code.Retryable(), "traceId": traceID}
	if e.Source != "" {
		out["source"] = e.Source
	}
	if e.RetryAfter > 0 {
		out["retryAfterMs"] = e.RetryAfter.Milliseconds()
	}
	if len(e.Upstream) > 0 {
		out["upstream"] = rawJSON(e.Upstream)
	}
	if len(e.Input) > 0 {
		out["input"] = e.Input
	}
	if len(e.Because) > 0 {
		out["because"] = e.Because
	}
	if len(e.Unblock) > 0 {
		out["unblock"] = e.Unblock
	}
	if e.PolicyFinal {
		out["policyFinal"] = true
	}
	return out
}

// gql is the error as the library's transports send it.
func (e *Error) gql(traceID string) *gqlerror.Error {
	return &gqlerror.Error{Message: e.Message, Path: e.Path, Locations: e.Locations, Extensions: e.extensions(traceID)}
}

// appendErrors writes the errors' JSON list.
func appendErrors(b []byte, errs []Error, traceID string) []byte {
	b = append(b, '[')
	for i := range errs {
		if i > 0 {
			b = append(b, ',')
		}
		b = errs[i].appendJSON(b, traceID)
	}
	return append(b, ']')
}

func (e *Error) appendJSON(b []byte, traceID string) []byte {
	b = append(b, `{"message":`...)
	b = connectors.AppendJSONString(b, e.Message)
	if len(e.Locations) > 0 {
		b = append(b, `,"locations":[`...)
		for i, l := range e.Locations {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"line":`...)
			b = strconv.AppendInt(b, int64(l.Line), 10)
			b = append(b, `,"column":`...)
			b = strconv.AppendInt(b, int64(l.Column), 10)
			b = append(b, '}')
		}
		b = append(b, ']')
	}
	if len(e.Path) > 0 {
		b = append(b, `,"path":[`...)
		for i, p := range e.Path {
			if i > 0 {
				b = append(b, ',')
			}
			switch p := p.(type) {
			case ast.PathName:
				b = connectors.AppendJSONString(b, string(p))
			case ast.PathIndex:
				b = strconv.AppendInt(b, int64(p), 10)
			}
		}
		b = append(b, ']')
	}
	b = append(b, `,"extensions":`...)
	b = appendAny(b, e.extensions(traceID))
	return append(b, '}')
}
