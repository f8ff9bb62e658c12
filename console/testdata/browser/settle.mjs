// An outcome that nobody knows, as the page shows it. The demo's systems always
// answer, so the answer to the page is changed on its way: what is tested is
// what the page makes of it, and what it sends.
import assert from "node:assert/strict";
import { demo, propose, run, shot, signIn } from "./browser.mjs";

await run(async (page, context) => {
  await signIn(context, "manager");
  const id = await propose(51, "51000");
  const at = new Date().toISOString();
  let may = false;
  const sent = [];
  await page.route("**/graphql", async (route) => {
    const { query, variables } = route.request().postDataJSON();
    if (query.includes("settleProposal")) {
      sent.push(variables);
      return route.fulfill({ json: { data: { settleProposal: { id } } } });
    }
    const response = await route.fetch();
    const json = await response.json();
    const p = json.data && json.data.proposal;
    if (p && sent.length === 0) {
      Object.assign(p, { state: "OUTCOME_UNKNOWN", reasonCode: "outcome_unknown", canSettle: { yes: may, because: may ? null : "your roles do not approve this" } });
      p.canWithdraw.yes = false;
      p.execution = { state: "UNKNOWN", attempts: 1, approvedAt: at, dispatchedAt: at, settledAt: at,
        receipt: { settledAs: "unknown", evidence: null, code: "TIMEOUT", message: "no answer came in time", result: null } };
    }
    return route.fulfill({ response, json });
  });
  const detail = page.locator("#detail");
  await page.goto(demo.url + "/?proposal=" + id);
  await detail.locator(".facts li.unknown", { hasText: "nobody can say whether it was done: no answer came in time (TIMEOUT)" }).waitFor();
  assert.equal(await detail.locator(".facts li.yes").count(), 2, "approved and executed are facts by themselves");
  assert.match(await detail.textContent(), /A person who may approve this and is no author.*You cannot: your roles/);
  assert.equal(await detail.getByRole("button", { name: "It was done" }).count(), 0);

  may = true;
  await page.reload();
  await detail.getByRole("button", { name: "It was done" }).click();
  assert.equal(sent.length, 0, "nothing is stated without saying how one knows");
  await detail.getByLabel("How you know").fill("order 7 shows it");
  await shot(page, "settle");
  await detail.getByRole("button", { name: "It was done" }).click();
  await detail.locator(".state.pending").waitFor();
  assert.deepEqual(sent, [{ id, o: "APPLIED", e: "order 7 shows it" }]);
});
