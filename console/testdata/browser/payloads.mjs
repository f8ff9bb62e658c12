// Whatever stands in a reason or in a record's name is text: nothing of it
// becomes an element, runs, loads, hides or breaks the page.
import assert from "node:assert/strict";
import { ask, demo, run, shot, signIn } from "./browser.mjs";

const corpus = [
  "<img src=x onerror=alert(1)>",
  "</blockquote></figure><script>alert(1)</script>",
  "<svg onload=alert(1)><iframe srcdoc='<script>alert(1)</script>'>",
  "javascript:alert(1) <a href=javascript:alert(1)>Approve</a>",
  "<style>*{display:none}</style><meta http-equiv=refresh content=0;url=//evil.example>",
  "${alert(1)} {{constructor.constructor('alert(1)')()}} <!-- --><base href=//evil.example>",
  "\u202Etxet desrever\u202C \u2066isolated\u2069 zero\u200Bwidth\u200D\uFEFF soft\u00ADhyphen",
  "tag \u{E0041}\u{E0042} filler \u3164\u115F braille \u2800 variation \uFE0F",
  "A".repeat(1200),
  "مرحبا العالم " + "ع".repeat(300),
  "Z" + "\u0335\u0489".repeat(60) + "algo",
  "'; DROP TABLE tickets; -- \\ \" `",
];
const unseen = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\u115f\u1160\u2800\u3164\ufe00-\ufe0f]/u;

await run(async (page, context) => {
  await signIn(context, "manager");
  const customers = await ask("support", "{ customers(first: 1) { nodes { email } } }");
  const email = customers.customers.nodes[0].email;
  for (const [i, text] of corpus.entries()) {
    const name = text.slice(0, 190);
    const made = await ask("support",
      "mutation ($s: String!, $e: String!) { createDeskTicket(input: {subject: $s, requesterEmail: $e, description: $s}) { outcome deskTicket { id } errors { code message } } }", { s: name, e: email });
    assert.equal(made.createDeskTicket.outcome, "APPLIED", JSON.stringify(made));
    const asked = await ask("agent",
      "mutation ($id: SafeInt!, $s: String!, $r: String!) { updateDeskTicket(id: $id, patch: {subject: $s}, options: {reason: $r}) { outcome proposal { id } errors { code message } } }",
      { id: made.createDeskTicket.deskTicket.id, s: name + " !", r: text });
    assert.equal(asked.updateDeskTicket.outcome, "PROPOSED", JSON.stringify(asked));

    await page.goto(demo.url + "/?proposal=" + asked.updateDeskTicket.proposal.id);
    const quote = page.locator("#detail figure.words blockquote");
    await quote.waitFor();
    const shown = await page.evaluate(() => ({
      quote: document.querySelector("#detail figure.words blockquote").textContent,
      before: document.querySelector("#detail td.before").textContent,
      title: document.querySelector("#detail h2").textContent,
      // Only what the pages make themselves stands in the places of foreign text.
      foreign: [...document.querySelectorAll("#detail *, #proposals *")].map((n) => n.localName)
        .filter((n) => !/^(h2|h3|p|strong|span|time|section|table|caption|thead|tbody|tr|th|td|em|figure|figcaption|blockquote|ul|li|div|input|button|label|details|summary|pre|ol|q)$/.test(n)),
      handlers: [...document.querySelectorAll("#detail *, #proposals *")].flatMap((n) => n.getAttributeNames()).filter((n) => n.startsWith("on") || n === "style" || n === "src" || n === "href"),
      wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    }));
    const code = (c) => "⟨U+" + c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩";
    const visible = (s) => s.replace(new RegExp(unseen.source, "gu"), code).replace(/(\p{M}{4})(\p{M}+)/gu, (_, kept, rest) => kept + [...rest].map(code).join(""));
    assert.equal(shown.quote, visible(text));
    assert.equal(shown.before, visible(name));
    assert.doesNotMatch(shown.title, unseen);
    assert.deepEqual(shown.foreign, []);
    assert.deepEqual(shown.handlers, []);
    await shot(page, "payload-" + i);
    assert.equal(shown.wide, false, "a long word makes the page wider than the window");
  }
});
