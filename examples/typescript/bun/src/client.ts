// The one client that the endpoints share.

import { Inngest } from "inngest";
import { endpointAdapter } from "inngest/edge";

export const inngest = new Inngest({
  id: "bun-example",
  // Clients whose run goes on without them are sent to the proxy of our own origin.
  endpointAdapter: endpointAdapter.withOptions({ asyncRedirectUrl: "/wait" }),
});
