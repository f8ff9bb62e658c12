// The pages' way to the graph: the session's cookie, and the header that a
// foreign page cannot send without being asked first.
export async function graph(query, variables) {
  const res = await fetch("/graphql", {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json", Accept: "application/json", "Countersign-Csrf": "1" },
    body: JSON.stringify({ query, variables }),
  });
  if (res.status === 401) {
    location.assign("/sign-in");
    throw new Error("signed out");
  }
  return res.json();
}

export async function post(path, body) {
  const res = await fetch(path, {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json", Accept: "application/json", "Countersign-Csrf": "1" },
    body: JSON.stringify(body),
  });
  let answer = {};
  try {
    answer = await res.json();
  } catch {
    answer = { error: { message: "the server answered " + res.status } };
  }
  return { ok: res.ok, status: res.status, answer };
}

export async function who() {
  const { data, errors } = await graph("{ viewer { id name kind roles } }");
  if (errors || data.viewer.kind !== "HUMAN") {
    location.assign("/sign-in?to=" + encodeURIComponent(location.pathname));
    return null;
  }
  const place = document.getElementById("who");
  place.textContent = data.viewer.name;
  place.title = data.viewer.id + " · " + data.viewer.roles.join(", ");
  const out = document.getElementById("sign-out");
  out.hidden = false;
  out.addEventListener("click", async () => {
    await post("/auth/sign-out", {});
    location.assign("/sign-in");
  });
  return data.viewer;
}

export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  // Text nodes only: nothing that came from a record or an agent is markup.
  node.append(...children.flat().filter((c) => c !== null && c !== undefined));
  return node;
}
