package sql

import "github.com/countersign/countersign/connectors"

// Compile gives tests the text of a select and how many parameters it has.
func (e *Engine) Compile(s *connectors.Select, args []connectors.Value) (text string, params int, err error) {
	after, before := cursorMasks(s, args)
	st, err := compileSelect(e.model, s, form{after: after, before: before})
	if err != nil {
		return "", 0, err
	}
	return st.sql, len(st.params), nil
}

// Cached is how many compiled selects the engine keeps.
func (e *Engine) Cached() int { return len(e.cache.byID) }

// The bounds that tests go beyond.
const (
	CacheSize   = cacheSize
	PreparedMax = preparedMax
)

// AppendText writes a JSON string.
func AppendText(s string) []byte { return appendText(nil, []byte(s)) }
