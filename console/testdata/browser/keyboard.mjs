// The inbox without a mouse, and on a screen of 360 pixels.
import assert from "node:assert/strict";
import { ask, demo, propose, run, shot, signIn } from "./browser.mjs";

await run(async (page, context) => {
  await signIn(context, "manager");
  const id = await propose(61, "61000");
  await page.goto(demo.url);
  await page.getByText("live", { exact: true }).waitFor();
  const focused = () => page.evaluate(() => document.activeElement.textContent);

  // Tabs are one stop; arrows turn them.
  await page.getByRole("tab", { name: /Waiting/ }).focus();
  await page.keyboard.press("ArrowRight");
  assert.match(await focused(), /^Running/);
  assert.equal(await page.getByRole("tab", { name: /Running/ }).getAttribute("aria-selected"), "true");
  assert.match(await page.locator("#empty").textContent(), /Nothing is being executed/);
  await page.keyboard.press("Home");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.className), "card");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  await page.locator("#detail h2:focus").waitFor();
  assert.match(await focused(), /^Change Address/);
  assert.equal(new URL(page.url()).searchParams.get("proposal"), id);

  // On to the form: comment, approve.
  for (let i = 0; i < 10 && (await page.evaluate(() => document.activeElement.localName)) !== "input"; i++) await page.keyboard.press("Tab");
  await page.keyboard.type("by key");
  await page.keyboard.press("Tab");
  assert.equal(await focused(), "Approve");
  await page.keyboard.press("Enter");
  await page.locator("#detail .facts li.yes", { hasText: "Succeeded" }).waitFor();
  const { proposal } = await ask("manager", "query ($id: ID!) { proposal(id: $id) { decisions { comment } } }", { id });
  assert.equal(proposal.decisions[0].comment, "by key");
  await page.locator("#detail h2:focus").waitFor(); // what came of it

  // What has no name is not found by who cannot see it.
  const nameless = await page.evaluate(() => [...document.querySelectorAll("button, input, a, section")]
    .filter((n) => !n.textContent.trim() && !n.getAttribute("aria-label") && !(n.labels && n.labels.length) && !n.closest("[hidden], dialog")).map((n) => n.outerHTML));
  assert.deepEqual(nameless, []);

  // Narrow: the list or the proposal, and a way back.
  await page.setViewportSize({ width: 360, height: 740 });
  const wide = () => page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
  assert.equal(await wide(), false);
  assert.equal(await page.locator("#proposals").isVisible(), false);
  await shot(page, "narrow-detail");
  await page.getByRole("button", { name: "All proposals" }).click();
  await page.locator("#proposals").waitFor();
  assert.equal(await page.locator("#detail").isVisible(), false);
  assert.equal(await wide(), false);
  await shot(page, "narrow-list");
  await page.goBack();
  await page.locator("#detail h2").waitFor();
});
