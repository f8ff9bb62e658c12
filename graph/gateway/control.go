package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/countersign/countersign/connectors"
)

// The control plane's part of an operation is run by the generated executable
// schema, in process, over an operation that holds those fields only.

// controlOperation is an operation of the control plane's root fields, as
// collected: their sub-selections are merged already.
func controlOperation(def *ast.OperationDefinition, fields []graphql.CollectedField) *ast.OperationDefinition {
	out := *def
	out.SelectionSet = make(ast.SelectionSet, len(fields))
	for i, cf := range fields {
		f := *cf.Field
		f.SelectionSet = cf.Selections
		f.Directives = nil // @skip and @include were applied
		out.SelectionSet[i] = &f
	}
	return &out
}

// operationContext is what generated code wants to know of an operation.
func (g *Gateway) operationContext(st *viewState, doc *document, def *ast.OperationDefinition, vars map[string]any) *graphql.OperationContext {
	return &graphql.OperationContext{
		RawQuery:               doc.text,
		Variables:              vars,
		OperationName:          def.Name,
		Doc:                    doc.query,
		Operation:              def,
		DisableIntrospection:   st.limits.Introspection != On,
		RecoverFunc:            g.recovered,
		ResolverMiddleware:     func(ctx context.Context, next graphql.Resolver) (any, error) { return next(ctx) },
		RootResolverMiddleware: func(ctx context.Context, next graphql.RootResolver) graphql.Marshaler { return next(ctx) },
	}
}

// runControl answers the control plane's fields by response key. A nil map
// with errors means that a null reached the top.
func (g *Gateway) runControl(ctx context.Context, st *viewState, doc *document, def *ast.OperationDefinition, vars map[string]any) (map[string]json.RawMessage, []Error) {
	oc := g.operationContext(st, doc, def, vars)
	ctx = graphql.WithOperationContext(ctx, oc)
	ctx = graphql.WithResponseContext(ctx, g.present, g.recovered)
	res := st.schema.control.Exec(ctx)(ctx)
	errs := fromGQL(graphql.GetErrors(ctx))
	if res == nil {
		return nil, errs
	}
	errs = append(errs, fromGQL(res.Errors)...)
	var data map[string]json.RawMessage
	if err := json.Unmarshal(res.Data, &data); err != nil {
		return nil, append(errs, fromError(err, nil))
	}
	return data, errs
}

// present makes a resolver's error one of the answer. Its extensions carry our
// Error whole until the answer is written.
func (g *Gateway) present(ctx context.Context, err error) *gqlerror.Error {
	path := graphql.GetPath(ctx)
	var ge *gqlerror.Error
	if errors.As(err, &ge) && ge.Err == nil {
		if ge.Path == nil {
			ge.Path = path
		}
		// The library's own: an argument or variable it could not read.
		if ge.Extensions == nil {
			ge.Extensions = map[string]any{"code": string(connectors.CodeBadInput)}
		}
		return ge
	}
	e := fromError(err, path)
	if e.Code == connectors.CodeInternal {
		g.cfg.Log.ErrorContext(ctx, "a control field failed", "path", path.String(), "error", err, "cause", errors.Unwrap(connectors.AsError(err)))
	}
	return &gqlerror.Error{Err: err, Message: e.Message, Path: path, Extensions: map[string]any{carried: e}}
}

// carried is the extension under which present keeps our own error.
const carried = "countersign.error"

// recovered makes an error of a panic, and logs where it was.
func (g *Gateway) recovered(ctx context.Context, v any) error {
	g.cfg.Log.ErrorContext(ctx, "a resolver panicked", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	return connectors.Errorf(connectors.CodeInternal, "something went wrong inside; the log has it")
}

func fromGQL(list gqlerror.List) []Error {
	out := make([]Error, 0, len(list))
	for _, ge := range list {
		if e, ok := ge.Extensions[carried].(Error); ok {
			out = append(out, e)
			continue
		}
		e := Error{Message: ge.Message, Path: ge.Path, Locations: ge.Locations, Code: connectors.CodeBadInput}
		if code, ok := ge.Extensions["code"].(string); ok {
			e.Code = connectors.Code(code)
		}
		out = append(out, e)
	}
	return out
}
