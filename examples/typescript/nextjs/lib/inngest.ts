// The client that the durable route handlers share.

import { Inngest } from "inngest";
import { endpointAdapter } from "inngest/next";

export const inngest = new Inngest({
  id: "nextjs-example",
  // Browsers whose run goes on without them are sent to a route of this origin.
  endpointAdapter: endpointAdapter.withOptions({ asyncRedirectUrl: "/api/wait" }),
});
