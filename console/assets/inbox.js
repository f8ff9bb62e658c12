import { el, graph, who } from "./graph.js";
import { value, visible } from "./text.js";

const tabs = {
  waiting: ["PENDING", "CHANGES_REQUESTED"],
  running: ["APPROVED", "EXECUTING", "OUTCOME_UNKNOWN", "PARTIAL"],
  done: ["EXECUTED", "FAILED", "SETTLED_PARTIAL", "REJECTED", "WITHDRAWN", "EXPIRED", "INVALIDATED"],
};
const words = {
  PENDING: "waits for a decision", CHANGES_REQUESTED: "sent back", APPROVED: "approved", EXECUTING: "is being executed",
  OUTCOME_UNKNOWN: "outcome unknown", PARTIAL: "done in part", EXECUTED: "executed", FAILED: "failed: nothing was done",
  SETTLED_PARTIAL: "done in part, settled", REJECTED: "rejected", WITHDRAWN: "withdrawn", EXPIRED: "expired", INVALIDATED: "no longer valid",
};
const verbs = { CREATE: "Create", UPDATE: "Change", DELETE: "Delete", CALL: "Call" };

const head = `id state revision createdAt expiresAt author { name actsFor } changes { source collection type kind affectedCount diff { label key } }`;
const full = `id state revision contentHash reviewHash reason reasonCode createdAt expiresAt
  author { id kind name actsFor owner }
  changes { source collection type kind affectedCount outcomeClass guarantee complete incompleteBecause unpredictable request
    diff { key label before after fields } }
  requirement { rule met seats { role count confirm filled } }
  decisions { by kind comment at revision }
  canApprove { yes code because }
  evidence { title text url }
  execution { state attempts approvedAt dispatchedAt settledAt receipt { settledAs evidence message result } }`;

const state = { tab: "waiting", selected: null, heads: new Map(), viewer: null };
const list = document.getElementById("proposals");
const detail = document.getElementById("detail");

function title(p) {
  const c = p.changes[0];
  if (!c) return "Nothing that you may see";
  const what = c.type || c.collection;
  const count = c.kind === "CALL" || c.affectedCount === null ? "" : c.affectedCount === 1 ? "" : ` ×${c.affectedCount}`;
  const first = c.diff.length === 1 ? c.diff[0].label || c.diff[0].key : null;
  const which = first ? " · " + visible(first, 60) : "";
  const more = p.changes.length > 1 ? ` and ${p.changes.length - 1} more` : "";
  return `${verbs[c.kind]} ${what}${count}${which}${more}`;
}

function when(iso) {
  const d = new Date(iso);
  return el("time", { datetime: iso, title: iso }, d.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }));
}

function byWhom(a) {
  return a.actsFor ? `${visible(a.name, 80)} for ${visible(a.actsFor, 80)}` : visible(a.name, 80);
}

function drawList() {
  const shown = [...state.heads.values()].filter((p) => tabs[state.tab].includes(p.state));
  shown.sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1));
  list.replaceChildren(
    ...shown.map((p) =>
      el("li", {},
        el("button", { type: "button", class: "card", "aria-current": p.id === state.selected ? "true" : undefined, onclick: () => select(p.id) },
          el("span", { class: "title" }, title(p)),
          el("span", { class: "meta" }, p.changes[0] ? p.changes[0].source : "", " · ", byWhom(p.author)),
          el("span", { class: "state " + p.state.toLowerCase() }, words[p.state])))));
  document.getElementById("empty").hidden = shown.length > 0;
  for (const b of document.querySelectorAll("[data-tab]")) {
    const n = [...state.heads.values()].filter((p) => tabs[b.dataset.tab].includes(p.state)).length;
    b.setAttribute("aria-selected", String(b.dataset.tab === state.tab));
    b.textContent = b.dataset.tab[0].toUpperCase() + b.dataset.tab.slice(1) + (n ? ` (${n})` : "");
  }
}

function drawDiff(change) {
  const blocks = change.diff.map((d) => {
    const before = d.before || {};
    const after = d.after || {};
    const changed = new Set(d.fields);
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort((a, b) => changed.has(b) - changed.has(a));
    const rows = names.map((name) =>
      el("tr", { class: changed.has(name) ? "changed" : "same" },
        el("th", { scope: "row" }, visible(name, 100)),
        el("td", { class: "before" }, d.before ? value(before[name]) : ""),
        el("td", { class: "after" }, d.after ? value(after[name]) : "")));
    return el("table", { class: "diff " + change.kind.toLowerCase() },
      el("caption", {}, visible(d.label || d.key || "new record", 200), d.label && d.key ? el("span", { class: "key" }, " " + visible(d.key, 100)) : null),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Field"), el("th", { scope: "col" }, d.before ? "Now" : ""), el("th", { scope: "col" }, d.after ? "After" : "Gone"))),
      el("tbody", {}, rows));
  });
  if (change.request) {
    blocks.push(el("details", { open: change.diff.length === 0 }, el("summary", {}, "What will be sent"), el("pre", {}, visible(JSON.stringify(change.request, null, 2), 100000))));
  }
  return blocks;
}

function drawChange(change, i, all) {
  return el("section", { class: "change" },
    el("h3", {}, all.length > 1 ? `${i + 1}. ` : "", `${verbs[change.kind]} ${change.source}.${change.collection}`,
      change.affectedCount !== null && change.kind !== "CALL" ? el("span", { class: "count" }, ` ${change.affectedCount} record${change.affectedCount === 1 ? "" : "s"}`) : null),
    drawDiff(change),
    change.complete ? null : el("p", { class: "problem" }, "Not everything could be shown: " + visible(change.incompleteBecause || "unknown", 300)),
    change.unpredictable.length ? el("p", { class: "note" }, "Decided by the system when it runs: " + change.unpredictable.map((f) => visible(f, 60)).join(", ")) : null,
    el("p", { class: "note" }, "Guarantee: " + change.guarantee));
}

function facts(p) {
  const x = p.execution;
  const line = (name, done, text) => el("li", { class: done ? "yes" : "no" }, el("strong", {}, name), " ", text);
  const receipt = x.receipt;
  return el("ol", { class: "facts", "aria-label": "Receipt" },
    line("Approved", !!x.approvedAt, x.approvedAt ? when(x.approvedAt) : "no"),
    line("Executed", !!x.dispatchedAt, x.dispatchedAt ? el("span", {}, when(x.dispatchedAt), ` · ${x.attempts} attempt${x.attempts === 1 ? "" : "s"}`) : "no"),
    line("Succeeded", x.state === "SUCCEEDED",
      x.state === "SUCCEEDED" ? el("span", {}, when(x.settledAt), receipt && receipt.evidence ? ` · ${visible(receipt.evidence, 200)}` : "")
        : x.state === "UNKNOWN" ? "unknown: it was sent, and nobody can say whether it was done"
        : receipt && receipt.message ? visible(receipt.message, 300) : "no"));
}

function drawSeats(p) {
  return el("ul", { class: "seats" },
    p.requirement.seats.map((s) =>
      el("li", {}, s.confirm ? `confirmation by ${p.author.actsFor ? visible(p.author.actsFor, 80) : "the requester"}${s.role ? ` (or ${s.role})` : ""}` : `${s.count} × ${s.role}`,
        ` — ${s.filled} of ${s.count}`)),
    p.decisions.map((d) =>
      el("li", { class: "decision" }, `${visible(d.by, 80)}: ${d.kind.toLowerCase().replace("_", " ")} `, when(d.at), d.comment ? el("q", {}, visible(d.comment, 500)) : null)));
}

function drawDetail(p) {
  const message = el("p", { class: "problem", role: "alert", hidden: true });
  const comment = el("input", { "aria-label": "Comment", placeholder: "Comment (optional)", maxlength: 1000 });
  const decide = (mutation) => async () => {
    message.hidden = true;
    const hashes = mutation === "approveProposal" ? "reviewHash: $v, " : "";
    const { errors } = await graph(
      `mutation($id: ID!, $r: Int!, $c: String!, ${hashes ? "$v: String!, " : ""}$m: String) { ${mutation}(id: $id, revision: $r, contentHash: $c, ${hashes}comment: $m) { id } }`,
      { id: p.id, r: p.revision, c: p.contentHash, ...(hashes ? { v: p.reviewHash } : {}), m: comment.value || null });
    if (errors) {
      await select(p.id);
      const place = detail.querySelector("[role=alert]");
      if (place) {
        place.textContent = errors[0].message + " (" + errors[0].extensions.code + ")";
        place.hidden = false;
      }
      return;
    }
    await select(p.id);
  };
  const pending = p.state === "PENDING";
  detail.replaceChildren(
    el("h2", {}, title(p)),
    el("p", { class: "meta" }, "Asked by ", el("strong", {}, byWhom(p.author)), " ", when(p.createdAt), " · ",
      el("span", { class: "state " + p.state.toLowerCase() }, words[p.state]), p.reasonCode ? ` (${visible(p.reasonCode, 60)})` : "",
      pending ? el("span", {}, " · expires ", when(p.expiresAt)) : null),
    ...p.changes.map(drawChange),
    p.reason
      ? el("figure", { class: "words" }, el("figcaption", {}, `In the words of ${visible(p.author.name, 80)} — not checked by anyone:`), el("blockquote", {}, visible(p.reason)))
      : "",
    ...p.evidence.map((e) => el("figure", { class: "words" }, el("figcaption", {}, "Evidence: " + visible(e.title, 120)), el("blockquote", {}, visible(e.text || e.url || "")))),
    el("h3", {}, "Who decides", p.requirement.rule ? el("span", { class: "count" }, " rule " + visible(p.requirement.rule, 60)) : null),
    drawSeats(p),
    message,
    pending
      ? el("div", { class: "decide" }, comment,
          el("button", { type: "button", class: "approve", disabled: !p.canApprove.yes, title: p.canApprove.because || undefined, onclick: decide("approveProposal") }, "Approve"),
          el("button", { type: "button", class: "reject", onclick: decide("rejectProposal") }, "Reject"),
          p.canApprove.yes ? null : el("p", { class: "note" }, "You cannot approve this: " + visible(p.canApprove.because || p.canApprove.code || "", 300)))
      : facts(p),
    el("p", { class: "hash" }, `revision ${p.revision} · content ${p.contentHash.slice(0, 16)}… · review ${p.reviewHash.slice(0, 16)}…`));
}

async function select(id) {
  state.selected = id;
  drawList();
  const { data, errors } = await graph(`query($id: ID!) { proposal(id: $id) { ${full} } }`, { id });
  if (state.selected !== id) return;
  if (errors || !data.proposal) {
    detail.replaceChildren(el("p", { class: "problem", role: "alert" }, errors ? errors[0].message : "It is not there any more."));
    return;
  }
  state.heads.set(id, data.proposal);
  drawList();
  drawDetail(data.proposal);
}

async function load() {
  const { data, errors } = await graph(`{ proposals(first: 100) { nodes { ${head} } } }`);
  if (errors) {
    detail.replaceChildren(el("p", { class: "problem", role: "alert" }, errors[0].message));
    return;
  }
  state.heads = new Map((data.proposals ? data.proposals.nodes : []).map((p) => [p.id, p]));
  drawList();
}

function live() {
  const place = document.getElementById("live");
  const client = graphqlWs.createClient({
    url: new URL("/graphql", location.href).href.replace(/^http/, "ws"),
    lazy: false,
    retryAttempts: Infinity,
    shouldRetry: () => true,
    on: {
      connected: () => {
        place.textContent = "live";
        load();
      },
      closed: () => (place.textContent = "reconnecting"),
    },
  });
  client.subscribe({ query: `subscription { proposalsChanged { ${head} } }` }, {
    next: ({ data }) => {
      if (!data || !data.proposalsChanged) return;
      const p = data.proposalsChanged;
      state.heads.set(p.id, p);
      if (p.id === state.selected) select(p.id);
      else drawList();
    },
    error: () => (place.textContent = "not live: reload the page"),
    complete: () => (place.textContent = "not live: reload the page"),
  });
}

for (const b of document.querySelectorAll("[data-tab]")) {
  b.addEventListener("click", () => {
    state.tab = b.dataset.tab;
    drawList();
  });
}
state.viewer = await who();
if (state.viewer) {
  await load();
  const wanted = new URLSearchParams(location.search).get("proposal");
  if (wanted) await select(wanted);
  live();
}
