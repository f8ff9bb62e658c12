// Signing in at a provider as people do, in a real Chromium. Standard input is
// {url, provider, chromium}. A console error and a violation of the content
// security policy fail it.
import assert from "node:assert/strict";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";

const told = JSON.parse(fs.readFileSync(0, "utf8"));
const flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];

async function run(fn) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), "countersign-provider-"));
  const context = await chromium.launchPersistentContext(dir, {
    executablePath: told.chromium, args: flags, ignoreDefaultArgs: ["--headless", "--headless=old"],
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
    page.on("request", (r) => {
      const { origin, protocol } = new URL(r.url());
      if (protocol !== "data:" && origin !== told.url && origin !== told.provider) wrong.push("foreign request: " + r.url());
    });
    await fn(page, context);
    assert.deepEqual(wrong, []);
  } finally {
    await context.close();
    fs.rmSync(dir, { recursive: true, force: true });
  }
}

const viewer = (page) => page.evaluate(async () => {
  const res = await fetch("/graphql", { method: "POST", headers: { "Content-Type": "application/json", "Countersign-Csrf": "1" }, body: JSON.stringify({ query: "{ viewer { name roles interactive } }" }) });
  return (await res.json()).data.viewer;
});
const button = (page) => page.getByRole("button", { name: "Sign in with 127.0.0.1" });

// Where somebody wanted to go, there they are afterwards.
await run(async (page) => {
  await page.goto(told.url + "/sign-in?to=/explorer");
  await button(page).click();
  await page.fill("input[name=login]", "maria");
  await page.getByRole("button", { name: "Go" }).click();
  await page.waitForURL(told.url + "/explorer");
  assert.deepEqual(await viewer(page), { name: "Maria", roles: ["lead"], interactive: true });

  // A new proof of who somebody is: the provider asks again, though it knows them.
  await page.goto(told.url + "/sign-in?fresh=1&to=/device");
  await button(page).click();
  await page.fill("input[name=login]", "maria");
  await page.getByRole("button", { name: "Go" }).click();
  await page.waitForURL(told.url + "/device");
});

// Somebody whom nobody gave a role is told so.
await run(async (page) => {
  await page.goto(told.url + "/sign-in");
  await button(page).click();
  await page.fill("input[name=login]", "nora");
  await page.getByRole("button", { name: "Go" }).click();
  await page.getByText("nobody gave you a role here").waitFor();
  assert.deepEqual(await viewer(page), { name: "Nora", roles: [], interactive: true });
});

// Who refuses is told so, in our words and not in those of the address.
await run(async (page) => {
  await page.goto(told.url + "/sign-in");
  await button(page).click();
  await page.getByRole("button", { name: "Refuse" }).click();
  await page.getByText("did not let you in").waitFor();
  assert.doesNotMatch(await page.content(), /call this number/);
  await page.goto(told.url + "/sign-in?problem=call+this+number");
  await button(page).waitFor();
  assert.ok(await page.locator("#problem").isHidden());
});
