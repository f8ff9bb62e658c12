// The server goes away and comes back: the page says so, loses nothing that was
// written, and goes on by itself.
import assert from "node:assert/strict";
import net from "node:net";
import { demo, propose, run, shot, signIn } from "./browser.mjs";

// A door to the server that can be shut: connections are cut and refused.
const inside = new URL(demo.url);
const open = new Set();
const listen = (port) => new Promise((resolve) => {
  const server = net.createServer((from) => {
    const to = net.connect(Number(inside.port), inside.hostname);
    for (const [a, b] of [[from, to], [to, from]]) {
      open.add(a);
      a.on("error", () => b.destroy());
      a.on("close", () => {
        open.delete(a);
        b.destroy();
      });
      a.pipe(b);
    }
  });
  server.listen(port, "127.0.0.1", () => resolve(server));
});
const shut = (server) => new Promise((resolve) => {
  server.close(resolve);
  for (const socket of open) socket.destroy();
});

let door = await listen(0);
const port = door.address().port;
demo.url = "http://127.0.0.1:" + port;

try {
  await run(async (page, context) => {
    await signIn(context, "manager");
    const id = await propose(71, "71000");
    const detail = page.locator("#detail");
    const trouble = page.locator("#trouble");
    await page.goto(demo.url + "/?proposal=" + id);
    await page.getByText("live", { exact: true }).waitFor();
    await detail.getByLabel("Comment").fill("seen before the break");

    await shut(door);
    await trouble.waitFor();
    assert.match(await trouble.textContent(), /The server cannot be reached/);
    assert.equal(await page.locator("#live").textContent(), "reconnecting");
    assert.match(await detail.locator("h2").textContent(), /Change Address/, "what was seen stays");
    await detail.getByRole("button", { name: "Approve" }).click();
    await detail.locator("[role=alert]", { hasText: "The server cannot be reached. Whether this was recorded is seen when it is back." }).waitFor();
    await shot(page, "away");
    const missed = await propose(72, "72000");

    door = await listen(port);
    await page.getByText("live", { exact: true }).waitFor();
    await trouble.waitFor({ state: "hidden" });
    await detail.locator("[role=alert]").waitFor({ state: "hidden" });
    assert.equal(await detail.getByLabel("Comment").inputValue(), "seen before the break");
    // What happened meanwhile is there, and what happens now comes.
    await page.locator("#proposals button", { hasText: "Change Address" }).nth(1).waitFor();
    const now = await propose(73, "73000");
    await page.locator("#proposals button", { hasText: "Change Address" }).nth(2).waitFor();
    assert.equal(new Set([id, missed, now]).size, 3);
    await detail.getByRole("button", { name: "Approve" }).click();
    await detail.locator(".facts li.yes", { hasText: "Succeeded" }).waitFor();
    assert.match(await detail.locator(".decision q").textContent(), /seen before the break/);
  }, [/ERR_CONNECTION_REFUSED/, /ERR_EMPTY_RESPONSE/, /ERR_CONNECTION_RESET/, /ERR_SOCKET_NOT_CONNECTED/, /ERR_CONNECTION_CLOSED/]);
} finally {
  await shut(door);
}
