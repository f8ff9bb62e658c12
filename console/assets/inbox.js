// The inbox: the live list, and which proposal is open.
import { el, graph, signedOut, who } from "./graph.js";
import { stay } from "./live.js";
import { byWhom, calm, forget, full, head, open, say, show, title, when, words } from "./proposal.js";

const tabs = {
  waiting: ["PENDING", "CHANGES_REQUESTED"],
  running: ["APPROVED", "EXECUTING", "OUTCOME_UNKNOWN", "PARTIAL"],
  done: ["EXECUTED", "FAILED", "SETTLED_PARTIAL", "REJECTED", "WITHDRAWN", "EXPIRED", "INVALIDATED"],
};
const none = {
  waiting: "Nothing waits for a decision. What is proposed appears here by itself.",
  running: "Nothing is being executed, and no outcome is unknown.",
  done: "Nothing has been decided yet.",
};

const state = { tab: "waiting", selected: null, heads: new Map(), loaded: false, asked: 0, viewer: null };
const list = document.getElementById("proposals");
const empty = document.getElementById("empty");
const main = document.querySelector("main");
const cards = new Map(); // by id: the list item that stays while its text changes

const of = (tab) => [...state.heads.values()].filter((p) => tabs[tab].includes(p.state));

function card(p) {
  let item = cards.get(p.id);
  if (!item) {
    item = el("li", {}, el("button", { type: "button", class: "card", onclick: () => choose(p.id) }));
    cards.set(p.id, item);
  }
  const button = item.firstChild;
  const drawn = JSON.stringify(p);
  if (button.drawn !== drawn) {
    button.drawn = drawn;
    button.replaceChildren(
      el("span", { class: "title" }, title(p)),
      el("span", { class: "meta" }, p.changes[0] ? p.changes[0].source : "", " · ", byWhom(p.author)),
      el("span", { class: "state " + p.state.toLowerCase() }, words[p.state], " · ", when(p.createdAt)));
  }
  if (p.id === state.selected) button.setAttribute("aria-current", "true");
  else button.removeAttribute("aria-current");
  return item;
}

// Draws the list around what stays in it, so that the focus and the place that
// somebody reads at stay where they are.
function drawList() {
  const shown = of(state.tab).sort((a, b) => (a.createdAt < b.createdAt ? 1 : -1)).map(card);
  const keep = new Set(shown);
  const lost = list.contains(document.activeElement) && !keep.has(document.activeElement.closest("li"));
  for (const item of [...list.children]) if (!keep.has(item)) item.remove();
  shown.forEach((item, i) => {
    if (list.children[i] !== item) list.insertBefore(item, list.children[i] || null);
  });
  if (lost) document.getElementById("tab-" + state.tab).focus({ preventScroll: true });
  empty.hidden = shown.length > 0;
  if (state.loaded) empty.textContent = none[state.tab];
  for (const b of document.querySelectorAll("[data-tab]")) {
    const n = of(b.dataset.tab).length;
    const on = b.dataset.tab === state.tab;
    b.setAttribute("aria-selected", String(on));
    b.tabIndex = on ? 0 : -1;
    b.textContent = b.dataset.tab[0].toUpperCase() + b.dataset.tab.slice(1) + (n ? ` (${n})` : "");
  }
  document.getElementById("panel").setAttribute("aria-labelledby", "tab-" + state.tab);
  const n = of("waiting").length;
  document.title = (n ? `(${n}) ` : "") + "Inbox · Countersign";
}

function turn(tab) {
  state.tab = tab;
  drawList();
}

// Opens a proposal because somebody chose it.
async function choose(id) {
  if (new URLSearchParams(location.search).get("proposal") !== id) history.pushState(null, "", "/?proposal=" + encodeURIComponent(id));
  if (await select(id)) document.querySelector("#detail h2").focus({ preventScroll: !narrow.matches });
  if (narrow.matches) window.scrollTo(0, 0);
}

// Shows a proposal as it is now. False: it could not be read.
async function select(id) {
  state.selected = id;
  main.dataset.view = "detail";
  drawList();
  return refresh(id);
}

async function refresh(id) {
  const n = ++state.asked;
  const { data, errors, gone } = await graph(`query($id: ID!) { viewer { id kind } proposal(id: $id) { ${full} } }`, { id });
  if (state.selected !== id || n !== state.asked) return false; // a later answer shows it
  if (gone && open() === id) return false; // it stays as it was seen last; the banner says so
  if (errors || !sameViewer(data)) {
    if (errors) say(errors[0].message);
    return false;
  }
  if (!data.proposal) {
    say("There is no such proposal, or it is not for you to see.");
    return false;
  }
  state.heads.set(id, data.proposal);
  drawList();
  show(data.proposal, state.viewer, { refresh: () => refresh(id), leave });
  return true;
}

function leave() {
  const was = state.selected;
  history.pushState(null, "", "/");
  close();
  const item = cards.get(was);
  if (item && item.isConnected) item.firstChild.focus();
}

function close() {
  state.selected = null;
  delete main.dataset.view;
  say("Choose a proposal.", "empty");
  drawList();
}

// A cookie that ended without a word makes the caller nobody; and another
// window may have signed in as somebody else.
function sameViewer({ viewer }) {
  if (viewer.id === state.viewer.id) return true;
  if (viewer.kind !== "HUMAN") signedOut();
  else location.reload();
  return false;
}

async function load() {
  const { data, errors, gone } = await graph(`{ viewer { id kind } proposals(first: 100) { nodes { ${head} } } }`);
  if (gone) return;
  if (errors) {
    empty.hidden = false;
    empty.textContent = errors[0].message;
    return;
  }
  if (!sameViewer(data)) return;
  state.heads = new Map((data.proposals ? data.proposals.nodes : []).map((p) => [p.id, p]));
  state.loaded = true;
  drawList();
}

// Tells who cannot see the list move what moved in it.
function tell(p, before) {
  if (before && before.state === p.state) return;
  const what = title(p).map((t) => (t ? t.textContent || t : "")).join("");
  document.getElementById("news").textContent = before ? `${what}: ${words[p.state]}` : `New: ${what}, asked by ${byWhom(p.author)}`;
}

function live() {
  const place = document.getElementById("live");
  const trouble = document.getElementById("trouble");
  let first = true;
  stay(`subscription { proposalsChanged { ${head} } }`, {
    up: async () => {
      place.textContent = "live";
      trouble.hidden = true;
      if (!first) document.getElementById("news").textContent = "Connected again.";
      first = false;
      await load();
      if (state.selected && await refresh(state.selected)) calm();
    },
    down: () => {
      place.textContent = "reconnecting";
      trouble.textContent = "The server cannot be reached. What you see may be old, and nothing can be decided; the page tries again by itself.";
      trouble.hidden = false;
    },
    next: ({ proposalsChanged: p }) => {
      if (!p) return;
      tell(p, state.heads.get(p.id));
      state.heads.set(p.id, p);
      drawList();
      if (p.id === state.selected) refresh(p.id);
    },
  });
}

// Arrow keys move along tabs and cards; Home and End to their ends.
function arrows(container, items, forward, back, then) {
  container.addEventListener("keydown", (event) => {
    const all = items();
    const at = all.indexOf(document.activeElement);
    const to = { [forward]: at + 1, [back]: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (at < 0 || to === undefined || !all[to]) return;
    event.preventDefault();
    all[to].focus();
    if (then) then(all[to]);
  });
}

const narrow = matchMedia("(max-width: 800px)");
const tabList = document.querySelector(".tabs");
for (const b of tabList.children) b.addEventListener("click", () => turn(b.dataset.tab));
arrows(tabList, () => [...tabList.children], "ArrowRight", "ArrowLeft", (b) => turn(b.dataset.tab));
arrows(list, () => [...list.querySelectorAll(".card")], "ArrowDown", "ArrowUp");
window.addEventListener("popstate", () => {
  const id = new URLSearchParams(location.search).get("proposal");
  if (id) select(id);
  else close();
});

state.viewer = await who();
if (state.viewer) {
  forget(state.viewer.id);
  await load();
  const wanted = new URLSearchParams(location.search).get("proposal");
  if (wanted) {
    await select(wanted);
    const p = state.heads.get(wanted);
    if (p) turn(Object.keys(tabs).find((tab) => tabs[tab].includes(p.state)));
  }
  live();
}
