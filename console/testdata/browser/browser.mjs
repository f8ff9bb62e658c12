// What the browser tests share: a Chromium that loads nothing but the gateway's
// pages, and that fails a test for every console error and every violation of
// the content security policy.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";

export const demo = JSON.parse(fs.readFileSync(0, "utf8"));

const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];

// run opens a page, calls fn with it, and closes everything. expected are the
// errors of the console that the test itself brings about.
export async function run(fn, expected = []) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "countersign-browser-"));
  const context = await chromium.launchPersistentContext(dir, {
    executablePath: demo.chromium, args: flags, ignoreDefaultArgs: ["--headless", "--headless=old"], viewport: { width: 1280, height: 900 },
  });
  context.setDefaultTimeout(60_000);
  const wrong = [];
  try {
    await context.addInitScript(() => {
      document.addEventListener("securitypolicyviolation", (e) => console.error("CSP violation: " + e.violatedDirective + " " + e.blockedURI));
    });
    const page = await context.newPage();
    page.on("console", (m) => m.type() === "error" && wrong.push("console: " + m.text()));
    page.on("pageerror", (e) => wrong.push("page: " + e.message));
    page.on("dialog", (d) => { wrong.push("dialog: " + d.message()); d.dismiss(); });
    page.on("request", (r) => {
      const url = new URL(r.url());
      if (url.protocol !== "data:" && url.origin !== demo.url) wrong.push("foreign request: " + r.url());
    });
    page.on("requestfailed", (r) => r.failure() && !/ERR_ABORTED/.test(r.failure().errorText) && wrong.push("request: " + r.url() + " " + r.failure().errorText));
    try {
      await fn(page, context);
    } catch (e) {
      if (demo.shots) await shot(page, "failed");
      throw e;
    }
    assert.deepEqual(wrong.filter((w) => !expected.some((e) => e.test(w))), []);
  } finally {
    await context.close();
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

// shot keeps a picture where the test was told to keep some.
export async function shot(page, name) {
  if (demo.shots) await page.screenshot({ path: path.join(demo.shots, name + ".png"), fullPage: true });
}

// signIn gives the browser the session of one of the demo's people.
export async function signIn(context, who) {
  await context.addCookies([{ name: "countersign-session", value: demo.credentials[who], url: demo.url, httpOnly: true, sameSite: "Strict" }]);
}

// waiting is the id of a pending proposal that the manager sees.
export async function waiting(wanted) {
  const { proposals } = await ask("manager", "{ proposals(first: 50, filter: {state: {eq: PENDING}}) { nodes { id reason } } }");
  const found = proposals.nodes.find(wanted);
  assert.ok(found, "the demo made the proposal");
  return found.id;
}

// propose makes the agent ask for another postal code of the nth address, and
// answers the proposal's id.
export async function propose(n, postalCode) {
  const { addresses } = await ask("agent", "{ addresses(first: 100) { nodes { id } } }");
  const { updateAddress } = await ask("agent",
    "mutation ($a: SafeInt!, $p: String!) { updateAddress(id: $a, patch: {postalCode: $p}, options: {reason: \"for a test\"}) { outcome proposal { id } errors { code message } } }",
    { a: addresses.nodes[n].id, p: postalCode });
  assert.equal(updateAddress.outcome, "PROPOSED", JSON.stringify(updateAddress));
  return updateAddress.proposal.id;
}

// refund makes the agent ask for a refund.
export async function refund(input) {
  const { createDeskRefund } = await ask("agent",
    "mutation ($i: DeskRefundInput!) { createDeskRefund(input: $i, options: {reason: \"for a test\"}) { outcome proposal { id } errors { code message } } }",
    { i: { currency: "EUR", orderId: 7, reason: "Charged twice", ...input } });
  assert.equal(createDeskRefund.outcome, "PROPOSED", JSON.stringify(createDeskRefund));
  return createDeskRefund.proposal.id;
}

// approve and reject decide as one of the demo's people, outside of the browser.
export async function approve(who, id) {
  const { proposal } = await ask(who, "query ($id: ID!) { proposal(id: $id) { revision contentHash reviewHash } }", { id });
  await ask(who, "mutation ($id: ID!, $r: Int!, $c: String!, $v: String!) { approveProposal(id: $id, revision: $r, contentHash: $c, reviewHash: $v) { id } }",
    { id, r: proposal.revision, c: proposal.contentHash, v: proposal.reviewHash });
}

export async function reject(who, id) {
  const { proposal } = await ask(who, "query ($id: ID!) { proposal(id: $id) { revision contentHash } }", { id });
  await ask(who, "mutation ($id: ID!, $r: Int!, $c: String!) { rejectProposal(id: $id, revision: $r, contentHash: $c) { id } }",
    { id, r: proposal.revision, c: proposal.contentHash });
}

// ask runs an operation as one of the demo's people, outside of the browser.
export async function ask(who, query, variables) {
  const res = await fetch(demo.graphql, {
    method: "POST",
    headers: { "Content-Type": "application/json", Authorization: "Bearer " + demo.credentials[who] },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await res.json();
  assert.equal(errors, undefined, JSON.stringify(errors));
  return data;
}
