// The inbox as a manager uses it: signed in by the link, three proposals, the
// text that talks to the reviewer, an approval, and a conflict.
import assert from "node:assert/strict";
import { ask, demo, run, shot, waiting } from "./browser.mjs";

await run(async (page) => {
  await page.goto(demo.link);
  assert.equal(new URL(page.url()).hash, "", "the link's token stays out of the address bar");
  await shot(page, "link");
  await page.click("#link button");

  const card = (text) => page.locator("#proposals button", { hasText: text });
  const detail = page.locator("#detail");
  await card("Create DeskRefund").first().waitFor();
  await card("Change Address").first().waitFor();
  await card("Change Customer").first().waitFor();
  await page.getByText("live", { exact: true }).waitFor();
  await shot(page, "inbox");

  // One more comes by itself: the page is not loaded again.
  const loaded = await page.evaluate(() => performance.timeOrigin);
  const { updateAddress } = await ask("agent",
    `mutation { updateAddress(id: 11, patch: {postalCode: "99999"}, options: {reason: "seen while the page is open"}) { outcome proposal { id } } }`);
  assert.equal(updateAddress.outcome, "PROPOSED");
  await page.waitForFunction(() => document.querySelectorAll("#proposals button").length >= 4);
  assert.equal(await page.evaluate(() => performance.timeOrigin), loaded);

  // What talks to the reviewer is quoted, and what it hides is made visible.
  await page.goto(demo.url + "/?proposal=" + await waiting((p) => (p.reason ?? "").includes("CFO")));
  const quote = detail.locator("figure.words blockquote");
  await quote.waitFor();
  const words = await quote.textContent();
  assert.match(words, /ALREADY APPROVED BY THE CFO/);
  assert.match(words, /⟨U\+202E⟩/);
  assert.match(words, /⟨U\+200B⟩/);
  assert.doesNotMatch(words, /[\u202a-\u202e\u200b]/);
  for (const place of await page.locator("h1, h2, h3, h4, button, .card, caption, title").allTextContents()) {
    assert.doesNotMatch(place, /CFO|SYSTEM|guidance/);
  }
  const order = await detail.evaluate((d) => d.querySelector("table.diff").compareDocumentPosition(d.querySelector("figure.words")));
  assert.ok(order & 4, "the diff stands before the words");
  await shot(page, "words");

  // An approval that is executed: three facts, each by itself.
  await card("Create DeskRefund").first().click();
  await detail.locator("h2", { hasText: "Create DeskRefund" }).waitFor();
  await shot(page, "refund-before");
  await detail.getByRole("button", { name: "Approve" }).click();
  const facts = detail.locator(".facts li");
  const fact = (name) => facts.filter({ has: page.locator("strong", { hasText: name }) });
  await detail.locator(".facts li.yes", { hasText: "Succeeded" }).waitFor();
  assert.deepEqual(await facts.locator("strong").allTextContents(), ["Approved", "Executed", "Succeeded"]);
  assert.equal(await detail.locator(".facts li.yes").count(), 3);
  await shot(page, "refund-after");

  // Somebody changed a record meanwhile: approved, and nothing was done.
  await page.goto(demo.url + "/?proposal=" + await waiting((p) => (p.reason ?? "").includes("municipality")));
  await detail.getByRole("button", { name: "Approve" }).click();
  await detail.locator(".state.invalidated").first().waitFor();
  assert.match(await detail.locator(".meta").first().textContent(), /no longer valid: a record was changed after it was shown/);
  assert.equal(await fact("Executed").getAttribute("class"), "no");
  assert.equal(await fact("Succeeded").getAttribute("class"), "no");
  assert.equal(await fact("Approved").getAttribute("class"), "yes");
  assert.match(await fact("Executed").textContent(), /nothing was done/);
  assert.match(await fact("Approved").textContent(), /by Mara Manager/);
  assert.match(await fact("Succeeded").textContent(), /no: [a-z ]+ \([A-Z_]+\)/, "a refusal is told in words, with its code");
  await shot(page, "conflict");
});
