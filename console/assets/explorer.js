import { who } from "./graph.js";

const first = `# The schema is yours: it holds nothing that you may not use.
# The documentation at the left lists all of it.
{
  viewer {
    id
    roles
  }
  proposals(first: 5) {
    nodes {
      id
      state
      changes {
        source
        collection
        kind
      }
    }
  }
}
`;

const viewer = await who();
if (viewer) {
  const url = new URL("/graphql", location.href);
  const socket = graphqlWs.createClient({
    url: url.href.replace(/^http/, "ws"),
    lazy: true,
  });
  const fetcher = GraphiQL.createFetcher({
    url: url.href,
    headers: { "Countersign-Csrf": "1" },
    wsClient: socket,
  });
  const root = ReactDOM.createRoot(document.getElementById("graphiql"));
  root.render(React.createElement(GraphiQL, { fetcher, defaultQuery: first, shouldPersistHeaders: false }));
}
