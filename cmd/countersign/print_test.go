package main

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// What a name holds reaches no terminal as a command: controls and what cannot
// be seen are shown by number, everything else as it is.
func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"Grüße, 日本 👋":           "Grüße, 日本 👋",
		"\x1b[2J\x1b]0;owned\a": "⟨U+001B⟩[2J⟨U+001B⟩]0;owned⟨U+0007⟩",
		"a\r\nb\tc":             "a⟨U+000D⟩⟨U+000A⟩b⟨U+0009⟩c",
		"\u009b31m\x7f":         "⟨U+009B⟩31m⟨U+007F⟩",
		"pay\u202eelif":         "pay⟨U+202E⟩elif",
		"a\u200bb\ufeff\u00ad":  "a⟨U+200B⟩b⟨U+FEFF⟩⟨U+00AD⟩",
		"\u2066x\u2069":         "⟨U+2066⟩x⟨U+2069⟩",
		"\u061cx":               "⟨U+061C⟩x",
	} {
		if got := plain(text); got != want {
			t.Errorf("%+q: %q, not %q", text, got, want)
		}
	}
	var all strings.Builder
	for r := range rune(unicode.MaxRune + 1) {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			all.WriteRune(r)
		}
	}
	for _, r := range plain(all.String()) {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			t.Errorf("%U goes to the terminal", r)
		}
	}
	if got := plain("\xff\xfe"); !utf8.ValidString(got) {
		t.Errorf("wrong bytes: %+q", got)
	}
}
