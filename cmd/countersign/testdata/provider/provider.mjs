// A real OpenID provider on a free port of this machine. The first line of
// standard input is {redirect, clientId, clientSecret, audience}; it answers
// {issuer}. Every line after that is a command, answered by one line:
//   {"do":"rotate"}                          it signs with a new key, and has no old one
//   {"do":"sign","claims":{},"how":"RS256"}  a JWT of these claims by its own key,
//                                            or falsely: "none", "HS256" (with the
//                                            public key as the secret), "other"
import crypto from "node:crypto";
import http from "node:http";
import readline from "node:readline";
import { Provider } from "oidc-provider";

console.info = console.log = console.error; // answers alone go to standard output

const accounts = {
  maria: { email: "maria@acme.example", email_verified: true, name: "Maria", groups: ["acme-leads", "acme-other"], org: "north" },
  nora: { email: "nora@acme.example", email_verified: true, name: "Nora", groups: ["acme-other"], org: "north" },
  uwe: { email: "uwe@acme.example", email_verified: false, name: "Uwe", groups: ["acme-leads"], org: "south" },
};

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const config = JSON.parse((await lines.next()).value);
const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");

let provider, key, number = 0;
const server = http.createServer((req, res) => {
  if (req.url.startsWith("/interaction/")) interaction(req, res).catch((e) => { res.statusCode = 500; res.end(String(e)); });
  else provider.callback()(req, res);
});
await new Promise((done) => server.listen(0, "127.0.0.1", done));
const issuer = "http://127.0.0.1:" + server.address().port;

function rotate() {
  key = crypto.generateKeyPairSync("rsa", { modulusLength: 2048 });
  number++;
  provider = new Provider(issuer, {
    clients: [
      { client_id: config.clientId, client_secret: config.clientSecret, redirect_uris: [config.redirect], grant_types: ["authorization_code", "refresh_token"], response_types: ["code"] },
      { client_id: "robot", client_secret: "robot-secret", redirect_uris: [], response_types: [], grant_types: ["client_credentials"] },
    ],
    jwks: { keys: [{ ...key.privateKey.export({ format: "jwk" }), kid: "key-" + number, use: "sig", alg: "RS256" }] },
    scopes: ["openid", "offline_access", "profile", "email", "groups"],
    claims: { openid: ["sub"], profile: ["name"], email: ["email", "email_verified"], groups: ["groups", "org"] },
    pkce: { required: () => true },
    cookies: { keys: ["for a test"] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource) => ({ scope: "", audience: resource === "urn:acme:graph" ? config.audience : resource, accessTokenFormat: "jwt", accessTokenTTL: 3600 }),
      },
    },
    interactions: { url: (ctx, i) => "/interaction/" + i.uid },
    findAccount: (ctx, id) => accounts[id] && { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) },
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope("openid offline_access profile email groups");
      await grant.save();
      return grant;
    },
    renderError(ctx, out) { ctx.body = JSON.stringify(out); },
  });
}
rotate();

// The page where people sign in: a name, and two buttons.
async function interaction(req, res) {
  const details = await provider.interactionDetails(req, res);
  if (req.method === "POST") {
    let body = "";
    for await (const part of req) body += part;
    const form = new URLSearchParams(body);
    if (form.get("refuse")) return provider.interactionFinished(req, res, { error: "access_denied", error_description: "<b>call this number</b>" });
    const result = details.prompt.name === "consent" ? { consent: {} } : { login: { accountId: form.get("login") } };
    return provider.interactionFinished(req, res, result, { mergeWithLastSubmission: true });
  }
  res.setHeader("Content-Type", "text/html");
  res.end(`<!doctype html><title>Provider</title><link rel="icon" href="data:,"><form method="post"><input name="login"><button>Go</button><button name="refuse" value="1">Refuse</button></form>`);
}

const b64 = (what) => Buffer.from(what).toString("base64url");

function sign({ claims, how }) {
  const alg = how === "other" ? "RS256" : how;
  const body = b64(JSON.stringify({ alg, kid: "key-" + number, typ: "JWT" })) + "." + b64(JSON.stringify({ iss: issuer, ...claims }));
  switch (how) {
    case "none": return body + ".";
    case "HS256": return body + "." + crypto.createHmac("sha256", key.publicKey.export({ format: "pem", type: "spki" })).update(body).digest("base64url");
    case "other": return body + "." + crypto.sign("sha256", Buffer.from(body), crypto.generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey).toString("base64url");
  }
  return body + "." + crypto.sign("sha256", Buffer.from(body), key.privateKey).toString("base64url");
}

say({ issuer });
for (;;) {
  const { value, done } = await lines.next();
  if (done) break;
  const command = JSON.parse(value);
  if (command.do === "rotate") {
    rotate();
    say({});
  } else say({ token: sign(command) });
}
server.closeAllConnections();
server.close();
