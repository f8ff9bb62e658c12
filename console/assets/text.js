// Shows what cannot be seen: controls, bidi marks, zero-width characters,
// letters that have no ink, and whatever else could make a text look like
// another one.
const hidden = /(?![\n\t])[\p{C}\p{Zl}\p{Zp}\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\u{e0100}-\u{e01ef}]/gu;
// No script puts more marks than these on one letter; heaps of them are drawn
// over what stands beside.
const heap = /(\p{M}{4})(\p{M}+)/gu;

const code = (c) => "⟨U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩";

export function visible(text, cap = 2000) {
  let s = String(text);
  const cut = s.length > cap;
  if (cut) s = s.slice(0, cap);
  s = s.replace(hidden, code).replace(heap, (_, kept, rest) => kept + [...rest].map(code).join(""));
  return cut ? s + " … (" + (String(text).length - cap) + " characters more)" : s;
}

// A value that is decided on is shown whole, however long it is.
export function value(v) {
  return visible(typeof v === "string" ? v : JSON.stringify(v), Infinity);
}
