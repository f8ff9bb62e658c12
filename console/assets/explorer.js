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

// parsed is undefined for what the server is to name the fault of.
function parsed(query) {
  try {
    return GraphiQL.GraphQL.parse(query);
  } catch {
    return undefined;
  }
}

const viewer = await who();
if (viewer) {
  const url = new URL("/graphql", location.href);
  const socket = graphqlWs.createClient({
    url: url.href.replace(/^http/, "ws"),
    lazy: true,
  });
  const send = GraphiQL.createFetcher({
    url: url.href,
    headers: { "Countersign-Csrf": "1" },
    wsClient: socket,
  });
  // The transport is chosen by what is sent. GraphiQL's own idea of the document
  // is a moment older: a subscription that was just pasted would go by HTTP.
  const fetcher = (params, options) => send(params, { ...options, documentAST: parsed(params.query) });
  const root = ReactDOM.createRoot(document.getElementById("graphiql"));
  root.render(React.createElement(GraphiQL, { fetcher, defaultQuery: first, shouldPersistHeaders: false }));
}
