// Where browsers wait for an answer. The Next.js adapter makes no proxies, but the one for Web requests does.

import { Inngest } from "inngest";
import { endpointAdapter } from "inngest/edge";

const inngest = new Inngest({ id: "nextjs-example", endpointAdapter });

export const GET = inngest.endpointProxy();
