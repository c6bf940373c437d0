// What becomes of errors: retried, given up at once, retried when the other side says so, caught or not.

import { randomUUID } from "node:crypto";
import { Inngest, NonRetriableError, RetryAfterError, StepError, step } from "inngest";
import { endpointAdapter, serveEndpoint } from "inngest/node";
import { listen } from "./routes.js";

const inngest = new Inngest({
  id: "node-failures",
  endpointAdapter: endpointAdapter.withOptions({
    asyncRedirectUrl: "/wait",
    retries: 2, // so three tries in all
    functionId: "charge", // what the engine calls the endpoint; else "GET /flaky" and so on
  }),
});

/** When each run's step was tried. It stands for a payment service, which is no part of the run. */
const tries = new Map<string, number[]>();

/** Charges a card: calls the service, which fails with `failure` as often as it says. */
function charge(failures: number, failure: () => Error) {
  return async () => {
    const run = await step.run("name-the-run", () => randomUUID());
    const triedAt = () => tries.get(run) ?? [];
    let error: string | null = null;
    try {
      await step.run("charge", () => {
        tries.set(run, [...triedAt(), Date.now()]);
        if (triedAt().length <= failures) throw failure();
      });
    } catch (caught) {
      // Only here once the tries are used up. The service's error is now a `StepError` with its name and message.
      if (!(caught instanceof StepError)) throw caught;
      error = `${caught.name}: ${caught.message}`;
    }
    const pausesMs = triedAt().slice(1).map((at, n) => at - (triedAt()[n] ?? at));
    return Response.json({ error, tries: triedAt().length, pausesMs });
  };
}

const uncaught = inngest.endpoint(async () => {
  await step.run("charge", () => {
    throw new NonRetriableError("the card is stolen");
  });
  return Response.json("not reached");
});

const unavailable = () => new Error("the service is unavailable");

listen({
  "/flaky": serveEndpoint(inngest.endpoint(charge(2, unavailable))),
  "/broken": serveEndpoint(inngest.endpoint(charge(Infinity, unavailable))),
  "/refused": serveEndpoint(inngest.endpoint(charge(Infinity, () => new NonRetriableError("the card is refused")))),
  "/busy": serveEndpoint(inngest.endpoint(charge(2, () => new RetryAfterError("come back later", "3s")))),
  "/uncaught": serveEndpoint(uncaught),
  "/wait": inngest.endpointProxy(),
});
