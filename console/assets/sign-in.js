import { post } from "./graph.js";

const problem = document.getElementById("problem");
const target = () => {
  const to = new URLSearchParams(location.search).get("to") || "/";
  // Only a path of this server: never another origin.
  return /^\/(?![/\\])/.test(to) ? to : "/";
};

document.getElementById("ended").hidden = !new URLSearchParams(location.search).has("ended");

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
