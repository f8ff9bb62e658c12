import { post } from "./graph.js";

const problem = document.getElementById("problem");
const target = () => {
  const to = new URLSearchParams(location.search).get("to") || "/";
  // Only a path of this server: never another origin.
  return /^\/(?![/\\])/.test(to) ? to : "/";
};

const query = new URLSearchParams(location.search);
document.getElementById("ended").hidden = !query.has("ended");

// Why a sign-in at a provider came to nothing. The address holds one of these
// words and never a sentence: an address may come from anybody.
const problems = {
  denied: "The provider did not let you in, or you did not agree. Nothing was done here.",
  over: "This sign-in was not begun in this browser, took too long, or was used already. Begin again.",
  provider: "The provider's answer is not good, so you were not signed in. Tell your administrator; the server's log says what it was.",
  unavailable: "The provider cannot be reached right now. Try again in a moment.",
  email: "The provider does not say that your e-mail address is verified, and it is needed here. Verify it there, then begin again.",
  tenant: "The provider does not say which organisation you belong to, and it is needed here. Ask your administrator.",
  stale: "A new proof of who you are was asked for, and the provider gave none. Sign in with a password, or ask your administrator.",
  suspended: "Your account is suspended here. An administrator can resume it.",
  noroles: "You are signed in, but nobody gave you a role here, so there is nothing you may see. Ask your administrator for one, then sign in again.",
};
if (problems[query.get("problem")]) {
  problem.textContent = problems[query.get("problem")];
  problem.hidden = false;
}
const goOn = document.getElementById("go-on");
if (query.get("problem") === "noroles") {
  goOn.hidden = false;
  goOn.firstElementChild.href = target();
}

// Buttons for the providers that are configured. fresh: somebody is to prove
// anew who they are.
const providers = document.getElementById("providers");
async function offer() {
  let answer;
  try {
    answer = await (await fetch("/auth/providers", { credentials: "same-origin" })).json();
  } catch {
    return; // the form is there; what is wrong shows when it is sent
  }
  for (const { id, name } of answer.providers) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Sign in with " + name;
    button.addEventListener("click", async () => {
      problem.hidden = true;
      const { ok, answer } = await post("/auth/provider", { issuer: id, to: target(), fresh: query.has("fresh") });
      if (ok) location.assign(answer.url);
      else show(answer);
    });
    providers.append(button);
  }
  providers.hidden = answer.providers.length === 0;
  if (!answer.password) form.hidden = true;
}

function show(answer) {
  problem.textContent = (answer.error && answer.error.message) || "That did not work.";
  problem.hidden = false;
}

const form = document.getElementById("sign-in");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.hidden = true;
  const { ok, answer } = await post("/auth/sign-in", { email: form.email.value, password: form.password.value });
  if (ok) location.assign(target());
  else show(answer);
});

if (!new URLSearchParams(location.hash.slice(1)).get("link")) offer();

// A link carries its token behind the #, which no server and no log sees, and
// is used by a press of the button, never by opening it.
const link = document.getElementById("link");
const params = new URLSearchParams(location.hash.slice(1));
const token = params.get("link");
if (token) {
  history.replaceState(null, "", location.pathname + location.search);
  form.hidden = true;
  link.hidden = false;
  const first = params.get("first") === "1";
  const set = params.get("set") === "1";
  if (set) {
    document.getElementById("link-text").textContent = "Choose your password; you are signed in with it at once.";
    link.password.closest("label").hidden = false;
    link.password.required = true;
  }
  if (first) {
    document.getElementById("link-text").textContent = "Welcome. This link makes you the owner of this gateway.";
    for (const label of link.querySelectorAll(".first")) label.hidden = false;
    link.password.required = true;
    link.email.required = true;
    // Whom the configuration calls the agents' owner: only that name can confirm.
    link.email.value = params.get("user") || "";
  }
  link.addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.hidden = true;
    const { ok, answer } = await post("/auth/link", {
      token,
      email: first ? link.email.value : undefined,
      password: first || set ? link.password.value : undefined,
    });
    if (ok) location.assign(target());
    else show(answer);
  });
}
