// Runs the audits of GraphQL over HTTP against the address in the first argument
// and prints one line of JSON for each: its id, its name and what came of it.
import { serverAudits } from 'graphql-http';

for (const audit of serverAudits({ url: process.argv[2] })) {
  const result = await audit.fn();
  console.log(JSON.stringify({ id: audit.id, name: audit.name, status: result.status, reason: result.reason }));
}
