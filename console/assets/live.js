// The live connection of a page, and what it does when the server goes away.
import { graph, signedOut } from "./graph.js";

// Milliseconds between two tries while the server is away, at most; between two
// signs of life while it is there; and how long a sign of life may take.
const longest = 5000;
const beat = 15000;
const patience = 5000;

// Subscribes until the page is left. on.up() is called whenever the connection
// stands, anew too: what happened meanwhile is to be read again. on.down() is
// called once each time it is lost; on.next(data) with each event.
export function stay(query, on) {
  let wait = 500;
  let timer = 0;
  let down = false;

  const lost = (client) => {
    client.dispose();
    if (!down) on.down();
    down = true;
    again();
  };
  // Whoever asks now is answered, or the session is over, or nobody is there.
  const again = () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      wait = Math.min(wait * 2, longest);
      const { data, away } = await graph("{ viewer { kind } }");
      if (away) return;
      if (!data) again();
      else if (data.viewer.kind !== "HUMAN") signedOut();
      else connect();
    }, wait + Math.random() * 250);
  };
  const connect = () => {
    let over = false;
    let silence = 0;
    const end = () => {
      clearTimeout(silence);
      if (over) return;
      over = true;
      lost(client);
    };
    const client = graphqlWs.createClient({
      url: new URL("/graphql", location.href).href.replace(/^http/, "ws"),
      lazy: false,
      retryAttempts: 0,
      keepAlive: beat,
      onNonLazyError: end,
      on: {
        connected: () => {
          down = false;
          wait = 500;
          on.up();
        },
        // A line that is cut without a word is only noticed by silence.
        ping: (received) => {
          if (!received) silence = setTimeout(() => client.terminate(), patience);
        },
        pong: (received) => received && clearTimeout(silence),
        closed: end,
      },
    });
    client.subscribe({ query }, { next: ({ data }) => data && on.next(data), error: end, complete: end });
  };
  window.addEventListener("online", () => {
    wait = 500;
    if (down) again();
  });
  connect();
}
