// Events come in while somebody writes: what they wrote, where the caret stands,
// what they opened and where they read stays.
import assert from "node:assert/strict";
import { approve, ask, demo, propose, refund, reject, run, shot, signIn } from "./browser.mjs";

await run(async (page, context) => {
  await signIn(context, "manager");
  await page.setViewportSize({ width: 1000, height: 420 });
  const detail = page.locator("#detail");
  const comment = detail.getByLabel("Comment");

  // Two seats: one vote changes the proposal and leaves it open.
  const big = await refund({ ticketId: 7, amount: "250.00" });
  await page.goto(demo.url + "/?proposal=" + big);
  await page.getByText("live", { exact: true }).waitFor();
  await comment.fill("I have asked the customer");
  await comment.evaluate((c) => {
    c.mine = true;
    c.setSelectionRange(2, 6);
  });
  await page.evaluate(() => window.scrollTo(0, 150));
  const look = () => page.evaluate(() => {
    const c = document.activeElement;
    return { text: c.value, mine: c.mine, caret: [c.selectionStart, c.selectionEnd], y: window.scrollY };
  });
  const before = await look();
  assert.deepEqual(before, { text: "I have asked the customer", mine: true, caret: [2, 6], y: 150 });

  await approve("finance", big);
  await detail.locator(".seats", { hasText: "1 × finance — 1 of 1" }).waitFor();
  assert.deepEqual(await look(), before, "the proposal was drawn anew around the form");
  await propose(31, "31000"); // and another one joins the list
  await page.locator("#news", { hasText: "New: Change Address" }).waitFor({ state: "attached" });
  assert.deepEqual(await look(), before);
  await shot(page, "between");

  // What was written is what is sent.
  await detail.getByRole("button", { name: "Approve" }).click();
  await detail.locator(".facts li.yes", { hasText: "Succeeded" }).waitFor();
  const { proposal } = await ask("manager", "query ($id: ID!) { proposal(id: $id) { decisions { by comment } } }", { id: big });
  assert.equal(proposal.decisions.find((d) => d.by === "Mara Manager").comment, "I have asked the customer");
  assert.match(await detail.locator(".facts li", { hasText: "Approved" }).first().textContent(), /by Finn Finance, Mara Manager/);

  // A list that grows leaves the focus on the card that has it.
  const at = page.locator("#proposals button", { hasText: "Address" }).first();
  await at.focus();
  await at.evaluate((b) => b.setAttribute("data-mine", ""));
  await propose(32, "32000");
  await page.locator("#proposals li + li > [data-mine]:focus").waitFor();

  // Somebody else decides first: what was written is not lost without a word.
  const other = await propose(33, "33000");
  await page.goto(demo.url + "/?proposal=" + other);
  await comment.fill("not before Friday");
  await page.getByText("live", { exact: true }).waitFor();
  await reject("owner", other);
  await detail.locator(".state.rejected").waitFor();
  assert.match(await detail.textContent(), /rejected by owner@shop\.example/);
  assert.equal(await detail.locator(".note q").textContent(), "not before Friday");

  // A refusal of the system: in words, with its code.
  const nowhere = await refund({ ticketId: 999999, amount: "9.00" });
  await page.goto(demo.url + "/?proposal=" + nowhere);
  await detail.getByRole("button", { name: "Approve" }).click();
  await detail.locator(".state.failed").waitFor();
  const succeeded = detail.locator(".facts li").nth(2);
  assert.match(await succeeded.textContent(), /no: [a-z' ]+ \([A-Z_]+\)/);
  await shot(page, "refused");
});
