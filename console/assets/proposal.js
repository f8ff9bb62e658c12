// One proposal: what it would do, who decides, the decision, and what came of
// it. It is drawn anew whenever it changes, around the form, so that nothing
// that somebody writes or reads is taken away.
import { el, graph, signedOut } from "./graph.js";
import { value, visible } from "./text.js";

export const words = {
  PENDING: "waits for a decision", CHANGES_REQUESTED: "sent back", APPROVED: "approved", EXECUTING: "is being executed",
  OUTCOME_UNKNOWN: "outcome unknown", PARTIAL: "done in part", EXECUTED: "executed", FAILED: "failed: nothing was done",
  SETTLED_PARTIAL: "done in part, settled", REJECTED: "rejected", WITHDRAWN: "withdrawn", EXPIRED: "expired", INVALIDATED: "no longer valid",
};
const reasons = {
  stale: "a record was changed after it was shown", policy: "the policy does not allow it any more", schema: "the system's schema changed",
  revoked: "an author or approver lost access", killed: "writes were stopped",
  rule: "a rule decided", reconciled: "a person stated it",
};
const did = { APPROVE: "approved", REJECT: "rejected", REQUEST_CHANGES: "sent it back", RETRACT: "took the approval back", RULE: "decided by rule", SETTLE: "settled it" };
const verbs = { CREATE: "Create", UPDATE: "Change", DELETE: "Delete", CALL: "Call" };

export const head = `id state revision createdAt expiresAt author { name actsFor } changes { source collection type kind affectedCount diff { label key } }`;
export const full = `id state revision contentHash reviewHash reason reasonCode createdAt expiresAt
  author { id kind name actsFor owner }
  changes { source collection type kind affectedCount outcomeClass guarantee complete incompleteBecause unpredictable request
    diff { key label before after fields } }
  requirement { rule met seats { role count confirm filled } }
  decisions { by kind comment at revision }
  canApprove { yes code because } canWithdraw { yes } canSettle { yes because }
  evidence { title text url }
  events(first: 50) { at to by }
  execution { state attempts approvedAt dispatchedAt settledAt receipt { settledAs evidence code message result } }`;

const detail = document.getElementById("detail");

const short = (text) => (text.length > 60 ? text.slice(0, 60) + "…" : text);
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

export function title(p) {
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

export function when(iso) {
  const d = new Date(iso);
  return el("time", { datetime: iso, title: iso }, d.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }));
}

export function byWhom(a) {
  return a.actsFor ? `${visible(a.name, 80)} for ${visible(a.actsFor, 80)}` : visible(a.name, 80);
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
        el("th", { scope: "row" }, visible(name, 100), changed.has(name) && was && will ? el("span", { class: "unseen" }, " (changed)") : null),
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
    blocks.push(el("details", { open: change.diff.length === 0 }, el("summary", {}, "What will be sent"), el("pre", { tabindex: "0" }, visible(JSON.stringify(change.request, null, 2), Infinity))));
  }
  return blocks;
}

function drawChange(change, i, all, pending) {
  return el("section", { class: "change" },
    el("h3", {}, all.length > 1 ? `${i + 1}. ` : "", `${verbs[change.kind]} ${change.source}.${change.collection}`,
      change.affectedCount !== null && change.kind !== "CALL" ? el("span", { class: "count" }, " " + plural(change.affectedCount, "record")) : null),
    drawDiff(change, pending),
    change.complete ? null : el("p", { class: "problem" }, "Not everything could be shown: " + visible(change.incompleteBecause || "unknown", 300)),
    change.unpredictable.length ? el("p", { class: "note" }, "Decided by the system when it runs: " + change.unpredictable.map((f) => visible(f, 60)).join(", ")) : null,
    el("p", { class: "note" }, "Guarantee: " + change.guarantee));
}

// The event that brought it into its state: when, and by whom.
function turned(p) {
  const e = p.events.find((x) => x.to === p.state);
  if (!e || p.state === "PENDING") return null;
  const by = e.by === "system" ? "" : " by " + visible(e.by.replaceAll("user:", "").replaceAll("agent:", ""), 160);
  return el("span", {}, by, " · ", when(e.at));
}

function facts(p) {
  const x = p.execution;
  const receipt = x.receipt;
  const tried = x.dispatchedAt && el("span", {}, when(x.dispatchedAt), ` · ${plural(x.attempts, "attempt")} · as ${byWhom(p.author)}`);
  const undone = tried && ["FAILED", "NOT_STARTED"].includes(x.state);
  const unknown = x.state === "UNKNOWN";
  const approvers = p.decisions.filter((d) => d.revision === p.revision && ["APPROVE", "RULE"].includes(d.kind)).map((d) => visible(d.by, 80));
  const line = (name, how, text) => el("li", { class: how }, el("strong", {}, name), el("span", { class: "unseen" }, ": "), text);
  const message = receipt && receipt.message ? visible(receipt.message, 300) : "";
  const why = message + (receipt && receipt.code ? (message ? ` (${receipt.code})` : receipt.code) : "");
  // A refusal is its own evidence.
  const known = receipt && receipt.evidence && receipt.evidence !== "refused: " + receipt.code ? ` · ${visible(receipt.evidence, 1000).replace(/(sha256:[0-9a-f]{12})[0-9a-f]+/g, "$1…")}` : "";
  const running = ["WAITING", "RUNNING"].includes(x.state);
  return el("ol", { class: "facts", "aria-label": "Receipt" },
    line("Approved", x.approvedAt ? "yes" : "no", x.approvedAt ? el("span", {}, when(x.approvedAt), approvers.length ? " · by " + approvers.join(", ") : "") : "no"),
    line("Executed", tried && !undone ? "yes" : "no", undone ? el("span", {}, "tried, and nothing was done: ", tried) : tried || (running ? "not yet" : "no")),
    line("Succeeded", x.state === "SUCCEEDED" ? "yes" : unknown ? "unknown" : "no",
      x.state === "SUCCEEDED" ? el("span", {}, when(x.settledAt), known, why ? ` · ${why}` : "")
        : unknown ? "unknown: it was sent, and nobody can say whether it was done" + (why ? `: ${why}` : "")
        : running ? "not yet" : el("span", {}, why ? `no: ${why}` : "no", x.settledAt ? " · " : "", x.settledAt ? when(x.settledAt) : "", known)));
}

function drawSeats(p) {
  return el("ul", { class: "seats" },
    p.requirement.seats.map((s) =>
      el("li", {}, s.confirm ? `confirmation by ${p.author.actsFor ? visible(p.author.actsFor, 80) : "the requester"}${s.role ? ` (or ${s.role})` : ""}` : `${s.count} × ${s.role}`,
        ` — ${s.filled} of ${s.count}`)),
    p.decisions.map((d) =>
      el("li", { class: "decision" }, `${visible(d.by, 80)} ${did[d.kind]} `, when(d.at), d.comment ? el("span", {}, ": ", el("q", {}, visible(d.comment, 500))) : null)));
}

// What is written and not sent yet outlives the page: a sign-in comes between.
// It is the writer's alone.
let writer = "";
const draftOf = (id) => "draft " + writer + " " + id;

// Keeps the drafts of this person only.
export function forget(person) {
  writer = person;
  for (const key of Object.keys(sessionStorage)) if (!key.startsWith(draftOf(""))) sessionStorage.removeItem(key);
}

function draft(id, input) {
  input.value = sessionStorage.getItem(draftOf(id)) || "";
  input.addEventListener("input", () => {
    if (input.value) sessionStorage.setItem(draftOf(id), input.value);
    else sessionStorage.removeItem(draftOf(id));
  });
  return input;
}

// What is drawn: { p, kind, slots, buttons … }.
let drawn = null;

// The id of the proposal that is shown.
export const open = () => (drawn ? drawn.p.id : null);

// Says something in place of a proposal.
export function say(text, how = "problem") {
  drawn = null;
  detail.replaceChildren(el("p", { class: how, role: how === "problem" ? "alert" : undefined }, visible(text, 500)));
}

// Runs a mutation about the proposal, shows it as it is then, and a refusal with
// its code.
async function act(frame, mutation, variables) {
  if (frame.busy) return;
  frame.busy = true;
  detail.setAttribute("aria-busy", "true");
  complain(frame, "");
  const { errors, gone, away } = await graph(mutation, variables);
  frame.busy = false;
  detail.removeAttribute("aria-busy");
  if (away) return;
  if (gone) {
    frame.unsure = true;
    complain(frame, errors[0].message + " Whether this was recorded is seen when it is back.");
    return;
  }
  if (!errors) sessionStorage.removeItem(draftOf(frame.p.id));
  await frame.on.refresh();
  if (drawn !== frame) return;
  if (!errors) {
    frame.slots.head.querySelector("h2").focus({ preventScroll: true });
    return;
  }
  const code = errors[0].extensions && errors[0].extensions.code;
  complain(frame, visible(errors[0].message, 500) + (code ? ` (${code})` : ""));
  if (code === "SIGN_IN_REQUIRED") frame.slots.alert.append(" ", el("button", { type: "button", class: "plain", onclick: signedOut }, "Sign in again"));
}

// The server is back, and what it says is shown: nothing is unsure any more.
export function calm() {
  if (!drawn || !drawn.unsure) return;
  drawn.unsure = false;
  complain(drawn, "");
}

function complain(frame, text) {
  frame.slots.alert.textContent = text;
  frame.slots.alert.hidden = !text;
}

// Asks before something that cannot be taken back.
function sure(heading, text, yes) {
  const dialog = document.getElementById("confirm");
  const [go, keep] = [document.getElementById("confirm-yes"), document.getElementById("confirm-no")];
  document.getElementById("confirm-title").textContent = heading;
  document.getElementById("confirm-text").textContent = text;
  go.textContent = yes;
  return new Promise((answer) => {
    let said = false;
    go.onclick = () => {
      said = true;
      dialog.close();
    };
    keep.onclick = () => dialog.close();
    dialog.onclose = () => answer(said);
    dialog.showModal();
  });
}

function drawDecide(frame) {
  const comment = draft(frame.p.id, el("input", { placeholder: "optional", maxlength: 1000, autocomplete: "off" }));
  const exactly = () => ({ id: frame.p.id, r: frame.p.revision, c: frame.p.contentHash, m: comment.value || null });
  const approve = () => act(frame,
    "mutation($id: ID!, $r: Int!, $c: String!, $v: String!, $m: String) { approveProposal(id: $id, revision: $r, contentHash: $c, reviewHash: $v, comment: $m) { id } }",
    { ...exactly(), v: frame.p.reviewHash });
  const reject = () => act(frame,
    "mutation($id: ID!, $r: Int!, $c: String!, $m: String) { rejectProposal(id: $id, revision: $r, contentHash: $c, comment: $m) { id } }", exactly());
  frame.approve = el("button", { type: "button", class: "approve", onclick: approve, "aria-describedby": "because" }, "Approve");
  frame.because = el("p", { class: "note", id: "because" });
  return el("div", { class: "decide" }, el("label", {}, "Comment", comment), frame.approve,
    el("button", { type: "button", class: "reject", onclick: reject }, "Reject"), frame.because);
}

// A person who looked into the system states what came of it.
function drawSettle(frame) {
  const how = draft(frame.p.id, el("input", { placeholder: "what you saw in the system", maxlength: 1000, required: true, autocomplete: "off" }));
  const settle = (outcome) => () => how.reportValidity() && act(frame,
    "mutation($id: ID!, $o: SettledOutcome!, $e: String!) { settleProposal(id: $id, outcome: $o, evidence: $e) { id } }", { id: frame.p.id, o: outcome, e: how.value });
  return el("div", { class: "decide settle" },
    el("p", {}, "It was sent, and nobody can say whether it was done. Look into the system itself, then say what you found. What you say stands under your name and ends the proposal."),
    el("label", {}, "How you know", how),
    el("button", { type: "button", class: "plain", onclick: settle("APPLIED") }, "It was done"),
    el("button", { type: "button", class: "plain", onclick: settle("NOT_APPLIED") }, "It was not done"));
}

// Which form stands below the proposal. Its authors decide nothing of it; an
// administrator may withdraw as well.
function formOf(p, viewer) {
  if (p.state === "PENDING") return p.canWithdraw.yes && !p.canApprove.yes && !viewer.roles.includes("owner") ? "author" : "decide";
  if (p.state === "OUTCOME_UNKNOWN") return p.canSettle.yes ? "settle" : "unknown";
  return "none";
}

const whyNot = (p) => "You cannot approve this: " + visible(p.canApprove.because || p.canApprove.code || "", 300);

function form(frame) {
  switch (frame.kind) {
    case "decide":
      return drawDecide(frame);
    case "settle":
      return drawSettle(frame);
    case "author":
      return el("p", { class: "note" }, whyNot(frame.p));
    case "unknown":
      return el("p", { class: "note" }, "A person who may approve this and is no author of it looks into the system and states what came of it. You cannot: " +
        visible(frame.p.canSettle.because || "", 300));
  }
  return "";
}

function withdraw(frame) {
  return el("button", { type: "button", class: "plain withdraw", onclick: async () => {
    const yes = await sure("Withdraw this proposal?", "Nothing of it will be done, and nobody can decide on it any more. This cannot be undone: whoever still wants it proposes it anew.", "Withdraw");
    if (yes) await act(frame, "mutation($id: ID!) { withdrawProposal(id: $id) { id } }", { id: frame.p.id });
    else if (frame.withdraw.isConnected) frame.withdraw.focus();
  } }, "Withdraw …");
}

// Shows the proposal. on.refresh() reads it anew and shows it; on.leave() goes
// back to the list.
export function show(p, viewer, on) {
  if (drawn && drawn.p.id === p.id && JSON.stringify(drawn.p) === JSON.stringify(p)) return;
  if (!drawn || drawn.p.id !== p.id) {
    const slots = {};
    for (const name of ["head", "body", "alert", "form", "own", "foot"]) slots[name] = el(name === "alert" ? "p" : "div", name === "alert" ? { class: "problem", role: "alert", hidden: true } : {});
    drawn = { p, slots };
    drawn.withdraw = withdraw(drawn);
    detail.replaceChildren(el("button", { type: "button", class: "plain back", onclick: () => drawn.on.leave() }, "‹ All proposals"), ...Object.values(slots));
  }
  const frame = drawn;
  frame.p = p;
  frame.on = on;
  const y = window.scrollY;
  const heading = document.activeElement === frame.slots.head.querySelector("h2");
  drawHead(frame);
  if (heading) frame.slots.head.querySelector("h2").focus({ preventScroll: true });
  drawBody(frame);
  drawForm(frame, viewer);
  frame.slots.foot.replaceChildren(
    el("p", { class: "hash" }, `revision ${p.revision} · content ${p.contentHash.slice(0, 16)}… · review ${p.reviewHash.slice(0, 16)}…`));
  window.scrollTo(window.scrollX, y);
}

function drawHead({ p, slots }) {
  const pending = p.state === "PENDING";
  slots.head.replaceChildren(
    el("h2", { tabindex: "-1" }, title(p)),
    el("p", { class: "meta" }, "Asked by ", el("strong", {}, byWhom(p.author)), " ", when(p.createdAt), " · ",
      el("span", { class: "state " + p.state.toLowerCase() }, words[p.state]), reasons[p.reasonCode] ? ": " + reasons[p.reasonCode] : "", turned(p),
      pending ? el("span", {}, " · expires ", when(p.expiresAt)) : null));
}

// What was opened stays open, and the focus stays on it.
function drawBody({ p, slots }) {
  const pending = p.state === "PENDING";
  const was = [...slots.body.querySelectorAll("details")];
  const at = [...slots.body.querySelectorAll("summary, pre")].indexOf(document.activeElement);
  slots.body.replaceChildren(
    ...p.changes.map((c, i) => drawChange(c, i, p.changes, pending)),
    p.reason
      ? el("figure", { class: "words" }, el("figcaption", {}, `In the words of ${visible(p.author.name, 80)} — not checked by anyone:`), el("blockquote", {}, visible(p.reason)))
      : "",
    ...p.evidence.map((e) => el("figure", { class: "words" }, el("figcaption", {}, "Evidence: " + visible(e.title, 120)), el("blockquote", {}, visible(e.text || e.url || "")))),
    el("h3", {}, "Who decides", p.requirement.rule ? el("span", { class: "count" }, " rule " + visible(p.requirement.rule, 60)) : null),
    drawSeats(p),
    pending ? "" : facts(p));
  [...slots.body.querySelectorAll("details")].forEach((d, i) => was[i] && (d.open = was[i].open));
  if (at >= 0) slots.body.querySelectorAll("summary, pre")[at]?.focus({ preventScroll: true });
}

// The form is made once for what there is to do: what is written in it, the
// focus and the caret are its own. Only what it may do changes.
function drawForm(frame, viewer) {
  const { p, slots } = frame;
  const kind = formOf(p, viewer);
  if (frame.kind !== kind || ["author", "unknown"].includes(kind)) {
    const unsent = frame.kind && slots.form.querySelector("input") ? sessionStorage.getItem(draftOf(p.id)) : null;
    const held = slots.form.contains(document.activeElement);
    frame.kind = kind;
    slots.form.replaceChildren(form(frame));
    if (unsent) slots.form.append(el("p", { class: "note" }, "It changed while you wrote. What you wrote was not sent: ", el("q", {}, unsent)));
    if (held) slots.head.querySelector("h2").focus({ preventScroll: true });
  }
  if (kind === "decide") {
    frame.approve.disabled = !p.canApprove.yes;
    frame.because.textContent = p.canApprove.yes ? "" : whyNot(p);
    frame.because.hidden = p.canApprove.yes;
  }
  const may = p.canWithdraw.yes;
  if (may !== frame.withdraw.isConnected) slots.own.replaceChildren(...(may ? [frame.withdraw] : []));
  const dialog = document.getElementById("confirm");
  if (!may && dialog.open) dialog.close();
}
