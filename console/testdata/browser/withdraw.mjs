// The person that an agent acts for takes back what it proposed, after being
// asked; who only reviews is not offered it.
import assert from "node:assert/strict";
import { ask, demo, propose, run, shot, signIn } from "./browser.mjs";

const state = async (id) => (await ask("manager", "query ($id: ID!) { proposal(id: $id) { state } }", { id })).proposal.state;

await run(async (page, context) => {
  const id = await propose(41, "41000");
  const detail = page.locator("#detail");
  const button = detail.getByRole("button", { name: "Withdraw" });
  const dialog = page.getByRole("dialog", { name: "Withdraw this proposal?" });

  await signIn(context, "manager");
  await page.goto(demo.url + "/?proposal=" + id);
  await detail.getByRole("button", { name: "Approve" }).waitFor();
  assert.equal(await button.count(), 0);

  await signIn(context, "support");
  await page.goto(demo.url + "/?proposal=" + id);
  await button.waitFor();
  assert.equal(await detail.getByRole("button", { name: "Approve" }).count(), 0, "authors are not offered what they cannot do");
  await button.click();
  await dialog.waitFor();
  await shot(page, "withdraw");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Keep it");
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  assert.equal(await state(id), "PENDING");
  assert.match(await page.evaluate(() => document.activeElement.textContent), /^Withdraw/, "the focus is back where it was");

  await button.click();
  await dialog.getByRole("button", { name: "Withdraw" }).click();
  await detail.locator(".state.withdrawn").waitFor();
  assert.equal(await state(id), "WITHDRAWN");
  assert.match(await detail.locator(".meta").first().textContent(), /withdrawn by support@shop\.example/);
  assert.deepEqual(await detail.locator(".facts li").evaluateAll((l) => l.map((x) => x.className)), ["no", "no", "no"]);
  assert.equal(await button.count(), 0);
  await page.getByRole("tab", { name: /Done/ }).click();
  await page.locator("#proposals .state.withdrawn").first().waitFor();
});
