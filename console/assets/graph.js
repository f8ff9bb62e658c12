// The pages' way to the graph: the session's cookie, and the header that a
// foreign page cannot send without being asked first.

const headers = { "Content-Type": "application/json", Accept: "application/json", "Countersign-Csrf": "1" };

// Asks the graph. An answer always comes: where the server cannot be reached it
// is an error with gone: true, and nobody knows what became of a mutation. Where
// the session is over the page is left for the sign-in, which leads back here.
export async function graph(query, variables) {
  const gone = (message) => ({ gone: true, errors: [{ message, extensions: { code: "UNREACHABLE" } }] });
  let res;
  try {
    res = await fetch("/graphql", { method: "POST", credentials: "same-origin", headers, body: JSON.stringify({ query, variables }) });
  } catch {
    return gone("The server cannot be reached.");
  }
  if (res.status === 401) return signedOut();
  try {
    return await res.json();
  } catch {
    return gone("The server answered " + res.status + ".");
  }
}

// Leaves for the sign-in page, to come back to what is shown now.
export function signedOut() {
  const to = location.pathname + location.search;
  location.assign("/sign-in?ended=1&to=" + encodeURIComponent(to));
  return { away: true, errors: [{ message: "Your session has ended.", extensions: { code: "UNAUTHENTICATED" } }] };
}

export async function post(path, body) {
  let res;
  try {
    res = await fetch(path, { method: "POST", credentials: "same-origin", headers, body: JSON.stringify(body) });
  } catch {
    return { ok: false, status: 0, answer: { error: { message: "The server cannot be reached. Try again in a moment." } } };
  }
  let answer = {};
  try {
    answer = await res.json();
  } catch {
    answer = { error: { message: "the server answered " + res.status } };
  }
  return { ok: res.ok, status: res.status, answer };
}

// Who is signed in; nobody: the page is left for the sign-in.
export async function who() {
  const { data, away, gone, errors } = await graph("{ viewer { id name kind roles } }");
  const place = document.getElementById("who");
  if (away) return null;
  if (gone) {
    place.textContent = errors[0].message + " Reload the page.";
    return null;
  }
  if (errors || data.viewer.kind !== "HUMAN") {
    location.assign("/sign-in?to=" + encodeURIComponent(location.pathname + location.search));
    return null;
  }
  place.textContent = data.viewer.name;
  place.title = data.viewer.id + " · " + data.viewer.roles.join(", ");
  const out = document.getElementById("sign-out");
  out.hidden = false;
  out.addEventListener("click", async () => {
    sessionStorage.clear();
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
