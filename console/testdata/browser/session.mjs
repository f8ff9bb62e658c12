// The session ends while a proposal is open: to the sign-in page, and from there
// back to the same proposal, with what was written.
import assert from "node:assert/strict";
import { demo, propose, run, shot, signIn } from "./browser.mjs";

await run(async (page, context) => {
  await signIn(context, "manager");
  const id = await propose(81, "81000");
  const comment = page.locator("#detail").getByLabel("Comment");
  await page.goto(demo.url + "/?proposal=" + id);
  await page.getByText("live", { exact: true }).waitFor();
  await comment.fill("half a sen");

  // Signed out elsewhere: this page hears of it by itself.
  const out = await fetch(demo.url + "/auth/sign-out", { method: "POST", body: "{}",
    headers: { "Content-Type": "application/json", "Countersign-Csrf": "1", Cookie: "countersign-session=" + demo.credentials.manager } });
  assert.equal(out.status, 200);
  await page.waitForURL((url) => url.pathname === "/sign-in");
  const to = new URL(page.url()).searchParams.get("to");
  assert.equal(to, "/?proposal=" + id);
  await page.getByText("Your session has ended.").waitFor();
  await shot(page, "session-ended");

  await page.goto("about:blank");
  await page.goto(demo.url + "/sign-in?ended=1&to=" + encodeURIComponent(to) + new URL(demo.link).hash);
  await page.click("#link button");
  await comment.waitFor();
  assert.equal(new URL(page.url()).searchParams.get("proposal"), id);
  assert.equal(await comment.inputValue(), "half a sen");

  // Nobody else's: who signs out leaves nothing.
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL((url) => url.pathname === "/sign-in");
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
}, [/status of 401/]);
