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
const reasons = {
  stale: "a record was changed after it was shown", policy: "the policy does not allow it any more", schema: "the system's schema changed",
  revoked: "an author or approver lost access", killed: "writes were stopped",
  rule: "a rule decided", reconciled: "a person stated it",
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

const short = (text) => (text.length > 60 ? text.slice(0, 60) + "…" : text);

function title(p) {
  const c = p.changes[0];
  if (!c) return ["Nothing that you may see"];
  const what = c.type || c.collection;
  const count = c.kind === "CALL" || c.affectedCount === null ? "" : c.affectedCount === 1 ? "" : ` ×${c.affectedCount}`;
  // A record that is there has a name of its own; the name of one that is yet to
  // be made is the author's text, and that stands in no headline and no button.
  const first = c.diff.length === 1 && c.kind !== "CREATE" ? c.diff[0].label || c.diff[0].key : null;
  const more = p.changes.length > 1 ? ` and ${p.changes.length - 1} more` : "";
  return [`${verbs[c.kind]} ${what}${count}`, first ? el("span", { class: "name" }, " · ", short(visible(first))) : null, more];
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

// No value is told from any text by how it is set.
function cell(v) {
  return v === null || v === undefined ? el("em", { class: "none" }, "no value") : value(v);
}

function drawDiff(change, pending) {
  const blocks = change.diff.map((d) => {
    const before = d.before || {};
    const after = d.after || {};
    const changed = new Set(d.fields);
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort((a, b) => changed.has(b) - changed.has(a));
    const was = change.kind !== "CREATE";
    const will = change.kind !== "DELETE";
    const rows = names.map((name) =>
      el("tr", { class: changed.has(name) ? "changed" : "same" },
        el("th", { scope: "row" }, visible(name, 100)),
        was ? el("td", { class: "before" }, cell(before[name])) : null,
        will ? el("td", { class: "after" }, cell(after[name])) : null));
    const name = was ? visible(d.label || d.key || "record", 200) : "New record";
    return el("table", { class: "diff" },
      el("caption", {}, name, was && d.label && d.key ? el("span", { class: "key" }, " " + visible(d.key, 100)) : null),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Field"),
        was ? el("th", { scope: "col" }, !pending ? "Before" : will ? "Now" : "Now, gone after") : null, will ? el("th", { scope: "col" }, "After") : null)),
      el("tbody", {}, rows));
  });
  if (change.request) {
    blocks.push(el("details", { open: change.diff.length === 0 }, el("summary", {}, "What will be sent"), el("pre", {}, visible(JSON.stringify(change.request, null, 2), Infinity))));
  }
  return blocks;
}

function drawChange(change, i, all, pending) {
  return el("section", { class: "change" },
    el("h3", {}, all.length > 1 ? `${i + 1}. ` : "", `${verbs[change.kind]} ${change.source}.${change.collection}`,
      change.affectedCount !== null && change.kind !== "CALL" ? el("span", { class: "count" }, ` ${change.affectedCount} record${change.affectedCount === 1 ? "" : "s"}`) : null),
    drawDiff(change, pending),
    change.complete ? null : el("p", { class: "problem" }, "Not everything could be shown: " + visible(change.incompleteBecause || "unknown", 300)),
    change.unpredictable.length ? el("p", { class: "note" }, "Decided by the system when it runs: " + change.unpredictable.map((f) => visible(f, 60)).join(", ")) : null,
    el("p", { class: "note" }, "Guarantee: " + change.guarantee));
}

function facts(p) {
  const x = p.execution;
  const tried = x.dispatchedAt && el("span", {}, when(x.dispatchedAt), ` · ${x.attempts} attempt${x.attempts === 1 ? "" : "s"}`);
  const undone = tried && ["FAILED", "NOT_STARTED"].includes(x.state);
  const line = (name, done, text) => el("li", { class: done ? "yes" : "no" }, el("strong", {}, name), " ", text);
  const receipt = x.receipt;
  return el("ol", { class: "facts", "aria-label": "Receipt" },
    line("Approved", !!x.approvedAt, x.approvedAt ? when(x.approvedAt) : "no"),
    line("Executed", tried && !undone, undone ? el("span", {}, "tried, and nothing was done: ", tried) : tried || "no"),
    line("Succeeded", x.state === "SUCCEEDED",
      x.state === "SUCCEEDED" ? el("span", {}, when(x.settledAt), receipt && receipt.evidence ? ` · ${visible(receipt.evidence, 200)}` : "")
        : x.state === "UNKNOWN" ? "unknown: it was sent, and nobody can say whether it was done"
        : receipt && receipt.message ? "no: " + visible(receipt.message, 300) : "no"));
}

function drawSeats(p) {
  return el("ul", { class: "seats" },
    p.requirement.seats.map((s) =>
      el("li", {}, s.confirm ? `confirmation by ${p.author.actsFor ? visible(p.author.actsFor, 80) : "the requester"}${s.role ? ` (or ${s.role})` : ""}` : `${s.count} × ${s.role}`,
        ` — ${s.filled} of ${s.count}`)),
    p.decisions.map((d) =>
      el("li", { class: "decision" }, `${visible(d.by, 80)}: ${d.kind.toLowerCase().replace("_", " ")} `, when(d.at), d.comment ? el("q", {}, visible(d.comment, 500)) : null)));
}

// Runs a mutation about a proposal, shows the proposal as it is then, and a
// refusal with its code.
async function act(id, mutation, variables) {
  const { errors } = await graph(mutation, variables);
  await select(id);
  const place = detail.querySelector("[role=alert]");
  if (errors && place) {
    place.textContent = visible(errors[0].message, 500) + " (" + errors[0].extensions.code + ")";
    place.hidden = false;
  }
}

function drawDecide(p) {
  const comment = el("input", { "aria-label": "Comment", placeholder: "Comment (optional)", maxlength: 1000 });
  const exactly = () => ({ id: p.id, r: p.revision, c: p.contentHash, m: comment.value || null });
  const approve = () => act(p.id,
    "mutation($id: ID!, $r: Int!, $c: String!, $v: String!, $m: String) { approveProposal(id: $id, revision: $r, contentHash: $c, reviewHash: $v, comment: $m) { id } }",
    { ...exactly(), v: p.reviewHash });
  const reject = () => act(p.id,
    "mutation($id: ID!, $r: Int!, $c: String!, $m: String) { rejectProposal(id: $id, revision: $r, contentHash: $c, comment: $m) { id } }", exactly());
  return el("div", { class: "decide" }, comment,
    el("button", { type: "button", class: "approve", disabled: !p.canApprove.yes, title: p.canApprove.because || undefined, onclick: approve }, "Approve"),
    el("button", { type: "button", class: "reject", onclick: reject }, "Reject"),
    p.canApprove.yes ? null : el("p", { class: "note" }, "You cannot approve this: " + visible(p.canApprove.because || p.canApprove.code || "", 300)));
}

// A person who looked into the system states what came of it.
function drawSettle(p) {
  const how = el("input", { "aria-label": "How you know", placeholder: "How you know: what you saw in the system", maxlength: 1000, required: true });
  const settle = (outcome) => () => how.reportValidity() && act(p.id,
    "mutation($id: ID!, $o: SettledOutcome!, $e: String!) { settleProposal(id: $id, outcome: $o, evidence: $e) { id } }", { id: p.id, o: outcome, e: how.value });
  return el("div", { class: "decide" }, el("p", { class: "note" }, "It was sent, and nobody can say whether it was done. Look into the system, then say what you found:"), how,
    el("button", { type: "button", class: "plain", onclick: settle("APPLIED") }, "It was done"),
    el("button", { type: "button", class: "plain", onclick: settle("NOT_APPLIED") }, "It was not done"));
}

function drawDetail(p) {
  const pending = p.state === "PENDING";
  detail.replaceChildren(
    el("h2", {}, title(p)),
    el("p", { class: "meta" }, "Asked by ", el("strong", {}, byWhom(p.author)), " ", when(p.createdAt), " · ",
      el("span", { class: "state " + p.state.toLowerCase() }, words[p.state]), reasons[p.reasonCode] ? ": " + reasons[p.reasonCode] : "",
      pending ? el("span", {}, " · expires ", when(p.expiresAt)) : null),
    ...p.changes.map((c, i) => drawChange(c, i, p.changes, pending)),
    p.reason
      ? el("figure", { class: "words" }, el("figcaption", {}, `In the words of ${visible(p.author.name, 80)} — not checked by anyone:`), el("blockquote", {}, visible(p.reason)))
      : "",
    ...p.evidence.map((e) => el("figure", { class: "words" }, el("figcaption", {}, "Evidence: " + visible(e.title, 120)), el("blockquote", {}, visible(e.text || e.url || "")))),
    el("h3", {}, "Who decides", p.requirement.rule ? el("span", { class: "count" }, " rule " + visible(p.requirement.rule, 60)) : null),
    drawSeats(p),
    el("p", { class: "problem", role: "alert", hidden: true }),
    pending ? drawDecide(p) : facts(p),
    p.state === "OUTCOME_UNKNOWN" ? drawSettle(p) : "",
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
