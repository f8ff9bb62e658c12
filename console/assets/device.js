import { graph, post } from "./graph.js";

const form = document.getElementById("device");
const problem = document.getElementById("problem");

graph("{ viewer { kind } }").then(({ data }) => {
  if (!data || data.viewer.kind !== "HUMAN") location.assign("/sign-in?to=/device");
});

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.hidden = true;
  const { ok, answer } = await post("/auth/device/approve", { userCode: form.userCode.value });
  if (ok) {
    form.hidden = true;
    document.getElementById("done").hidden = false;
    return;
  }
  problem.textContent = (answer.error && answer.error.message) || "That did not work.";
  problem.hidden = false;
});
