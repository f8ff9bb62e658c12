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

// run opens a page, calls fn with it, and closes everything.
export async function run(fn) {
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
    assert.deepEqual(wrong, []);
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
