package plan

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/countersign/countersign/connectors"
)

// WriteOptions are where the options of a mutation stand: on any of its root
// fields. Values are read by Plan.WriteOptions.
type WriteOptions struct {
	given []optionRef
}

type optionRef struct {
	key   string
	value *ast.Value
}

// A Mode says how a mutation is to be done.
type Mode string

// The modes of WriteOptions.
const (
	ModeAuto    Mode = "AUTO"
	ModePreview Mode = "PREVIEW"
	ModePropose Mode = "PROPOSE"
	ModeJob     Mode = "JOB"
)

// Options are the options of one mutation operation, as asked for.
type Options struct {
	Mode           Mode
	IdempotencyKey string
	Reason         string
	Evidence       []Evidence
	// NotBefore and ExpiresAt are zero where not given.
	NotBefore, ExpiresAt time.Time
	// Wait is how long to wait for what a rule approves at once.
	Wait time.Duration
	// HasWait tells a wait of nothing from none given.
	HasWait bool
}

// Evidence is what the caller attached.
type Evidence struct {
	Title string
	Text  string
	URL   string
}

// Bounds of options. Longer texts are refused, not cut.
const (
	maxWait       = 10
	maxReason     = 4096
	maxEvidence   = 20
	maxKey        = 255
	defaultWait   = 2 * time.Second
	maxEvidenceAt = 64 << 10
)

// options keeps where the options of a root field stand.
func (b *builder) options(g *group) *connectors.Error {
	v, err := b.argument(g.first, "options", false)
	if err != nil {
		return err
	}
	if v != nil && v.Kind != ast.NullValue {
		b.plan.Options.given = append(b.plan.Options.given, optionRef{key: g.key, value: v})
	}
	return nil
}

// WriteOptions reads the options of the operation: those on its root fields and
// extension, the JSON of extensions.write (nil where there is none). Options
// that differ between two places are BAD_INPUT.
func (p *Plan) WriteOptions(in *Bindings, extension any) (Options, *connectors.Error) {
	var found any
	var foundKey string
	have := false
	add := func(v any, key string) *connectors.Error {
		if have && !sameJSON(found, v) {
			return badInput("options belong to the whole operation: those of %s and %s differ", foundKey, key).At(key, "options")
		}
		found, foundKey, have = v, key, true
		return nil
	}
	if extension != nil {
		if err := add(extension, "extensions.write"); err != nil {
			return Options{}, err
		}
	}
	for _, ref := range p.Options.given {
		if err := add(raw(in, ref.value), ref.key); err != nil {
			return Options{}, err
		}
	}
	return readOptions(found)
}

// sameJSON compares decoded JSON, in which a null member is none and a mode
// that is not given is AUTO.
func sameJSON(a, b any) bool {
	x, errX := json.Marshal(plainOptions(a))
	y, errY := json.Marshal(plainOptions(b))
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

func plainOptions(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := map[string]any{"mode": string(ModeAuto)}
	for k, item := range m {
		if item != nil {
			out[k] = item
		}
	}
	return out
}

func readOptions(v any) (Options, *connectors.Error) {
	o := Options{Mode: ModeAuto, Wait: defaultWait}
	if v == nil {
		return o, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return o, badInput("write options must be an object").At("options")
	}
	for name, item := range m {
		if item == nil {
			continue
		}
		if err := o.set(name, item); err != nil {
			return o, err
		}
	}
	return o, nil
}

func (o *Options) set(name string, v any) *connectors.Error {
	at := func(format string, args ...any) *connectors.Error {
		return badInput(format, args...).At("options", name)
	}
	switch name {
	case "wait":
		n, ok := number(v)
		if !ok || n < 0 || n > maxWait {
			return at("wait must be between 0 and %d seconds", maxWait)
		}
		o.Wait, o.HasWait = time.Duration(n)*time.Second, true
		return nil
	case "evidence":
		return o.evidence(v)
	}
	text, ok := v.(string)
	if !ok {
		return at("%s must be a text", name)
	}
	switch name {
	case "mode":
		o.Mode = Mode(text)
		switch o.Mode {
		case ModeAuto, ModePreview, ModePropose, ModeJob:
		default:
			return at("there is no such mode")
		}
	case "idempotencyKey":
		if text == "" || len(text) > maxKey {
			return at("an idempotency key has 1 to %d bytes", maxKey)
		}
		o.IdempotencyKey = text
	case "reason":
		if len(text) > maxReason {
			return at("a reason has at most %d bytes", maxReason)
		}
		o.Reason = text
	case "notBefore", "expiresAt":
		when, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return at("%s must be an instant, RFC 3339", name)
		}
		if name == "notBefore" {
			o.NotBefore = when
		} else {
			o.ExpiresAt = when
		}
	default:
		return at("there is no such option")
	}
	return nil
}

func (o *Options) evidence(v any) *connectors.Error {
	items, ok := v.([]any)
	if !ok {
		items = []any{v}
	}
	if len(items) > maxEvidence {
		return badInput("at most %d pieces of evidence", maxEvidence).At("options", "evidence")
	}
	for i, item := range items {
		m, ok := item.(map[string]any)
		if !ok {
			return badInput("evidence has a title, and a text or a url").At("options", "evidence", nameOf(i))
		}
		var e Evidence
		for k, to := range map[string]*string{"title": &e.Title, "text": &e.Text, "url": &e.URL} {
			if m[k] == nil {
				continue
			}
			if *to, ok = m[k].(string); !ok || len(*to) > maxEvidenceAt {
				return badInput("%s must be a text of at most %d bytes", k, maxEvidenceAt).At("options", "evidence", nameOf(i), k)
			}
		}
		if e.Title == "" {
			return badInput("evidence needs a title").At("options", "evidence", nameOf(i), "title")
		}
		o.Evidence = append(o.Evidence, e)
	}
	return nil
}
