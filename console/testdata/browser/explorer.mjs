// The explorer: a query, and a subscription that goes on.
import assert from "node:assert/strict";
import { ask, demo, run, shot, signIn } from "./browser.mjs";

await run(async (page, context) => {
  // What went over the socket, told where the subscription shows nothing.
  const frames = [];
  page.on("websocket", (socket) => {
    socket.on("framesent", (f) => frames.push("> " + f.payload));
    socket.on("framereceived", (f) => frames.push("< " + f.payload));
    socket.on("close", () => frames.push("closed"));
  });
  await signIn(context, "manager");
  await page.goto(demo.url + "/explorer");
  const result = page.locator(".result-window");
  const go = page.locator(".graphiql-execute-button");
  await page.locator(".graphiql-query-editor .CodeMirror").waitFor();

  await write(page, "{ viewer { name } customers(first: 2) { totalCount nodes { name tickets(first: 1) { nodes { subject } } } } }");
  await go.click();
  await result.getByText('"Mara Manager"').waitFor();
  await result.getByText("totalCount").waitFor();
  await shot(page, "explorer-query");

  // Pasted and run at once: the document is new, and so is the way it goes.
  await page.evaluate((t) => {
    document.querySelector(".graphiql-query-editor .CodeMirror").CodeMirror.setValue(t);
    document.querySelector(".graphiql-execute-button").click();
  }, "subscription { proposalsChanged { id state reason } }");
  // Subscribed once the server says so; proposals are made until one is seen.
  let n = 0;
  const seen = result.getByText("for the subscription").first();
  for (; !(await seen.isVisible()); n++) {
    assert.ok(n < 100, "the subscription shows nothing: " + frames.slice(-20).join("\n") + "\n" + (await result.innerText()));
    const { updateAddress } = await ask("agent",
      `mutation ($p: String!) { updateAddress(id: 12, patch: {postalCode: $p}, options: {reason: "for the subscription"}) { outcome proposal { id } } }`, { p: "8" + String(1000 + n) });
    await seen.waitFor({ timeout: 500 }).catch(() => {});
    await ask("manager", "mutation ($p: ID!, $c: String!) { rejectProposal(id: $p, revision: 1, contentHash: $c) { state } }",
      { p: updateAddress.proposal.id, c: (await ask("manager", "query ($p: ID!) { proposal(id: $p) { contentHash } }", { p: updateAddress.proposal.id })).proposal.contentHash });
  }
  assert.ok(frames.some((f) => f.includes('"next"')), "the subscription does not go over the socket");
  await shot(page, "explorer-subscription");
});

// write puts a document into the editor.
async function write(page, text) {
  await page.evaluate((t) => document.querySelector(".graphiql-query-editor .CodeMirror").CodeMirror.setValue(t), text);
}
