// Shows what cannot be seen: controls, bidi marks, zero-width characters, and
// whatever else could make a text look like another one.
const hidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202f\u205f-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]|[\u{e0000}-\u{e0fff}]/gu;

export function visible(text, cap = 2000) {
  let s = String(text);
  const cut = s.length > cap;
  if (cut) s = s.slice(0, cap);
  s = s.replace(hidden, (c) => "⟨U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩");
  return cut ? s + " … (" + (String(text).length - cap) + " characters more)" : s;
}

export function value(v) {
  if (v === null || v === undefined) return "∅";
  if (typeof v === "string") return visible(v, 100000);
  return visible(JSON.stringify(v), 100000);
}
