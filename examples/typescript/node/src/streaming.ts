// A story that arrives as it is written: `stream.push()`, and `stream.pipe()` with each kind of source.

import { setTimeout as sleep } from "node:timers/promises";
import { Inngest, step } from "inngest";
import { stream } from "inngest/experimental/durable-endpoints";
import { endpointAdapter, serveEndpoint } from "inngest/node";
import { listen, query } from "./routes.js";

const inngest = new Inngest({ id: "node-streaming", endpointAdapter });

/** The stories whose second chapter broke off once. */
const brokeOff = new Set<string>();

const story = inngest.endpoint(async (req: Request) => {
  const hero = query(req, "hero", "Ada");

  // What is pushed is any JSON.
  const id = await step.run("begin", () => {
    stream.push({ title: `The story of ${hero}` });
    return crypto.randomUUID();
  });

  // An async iterable of strings. What was piped is also what the step gives.
  const first = await step.run("first chapter", () => stream.pipe(words(`${hero} opened a request and left.`)));

  // A function that makes one. It breaks off once: those words are rolled back, and the engine has it written again.
  const second = await step.run("second chapter", () =>
    stream.pipe(async function* () {
      yield* words("The process was killed,");
      if (!brokeOff.has(id)) {
        brokeOff.add(id);
        throw new Error("the writer broke off");
      }
      yield* words(" and nobody noticed.");
    }),
  );

  await step.sleep("a night", "1s");

  // A stream of bytes, as `fetch()` gives one.
  const third = await step.run("third chapter", async () => {
    const { body } = new Response("In the morning everything was there.");
    return body ? stream.pipe(body) : "";
  });
  return Response.json({ story: [first, second, third].join(" ") });
});

async function* words(text: string): AsyncIterable<string> {
  for (const word of text.split(/(?= )/)) {
    await sleep(60);
    yield word;
  }
}

listen({ "/story": serveEndpoint(story) });
