// Package model holds the types of the control plane's schema: generated from
// graph/schema, beside the few scalars that the generator is told of. It must
// not know where the values come from.
package model

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/99designs/gqlgen/graphql"
)

// JSON is a JSON value that is written as it is.
type JSON = json.RawMessage

// MarshalJSON writes the value; an empty one is null.
func MarshalJSON(v JSON) graphql.Marshaler {
	return graphql.WriterFunc(func(w io.Writer) {
		if len(v) == 0 {
			io.WriteString(w, "null")
			return
		}
		w.Write(v)
	})
}

// UnmarshalJSON takes any input value.
func UnmarshalJSON(v any) (JSON, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("not a JSON value: %w", err)
	}
	return raw, nil
}
