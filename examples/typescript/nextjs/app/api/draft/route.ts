// A draft that streams word by word, breaks off once, and is published when a person says so.

import { setTimeout as sleep } from "node:timers/promises";
import { step } from "inngest";
import { stream } from "inngest/experimental/durable-endpoints";
import { inngest } from "@/lib/inngest";

/** The drafts whose second paragraph broke off once. */
const brokeOff = new Set<string>();

export const GET = inngest.endpoint(async (req: Request) => {
  const { searchParams } = new URL(req.url);
  const draft = searchParams.get("draft") ?? "1";
  const topic = searchParams.get("topic") ?? "lamps";

  const opening = await step.run("opening", () =>
    stream.pipe(words(`Much has been said about ${topic}, and most of it was lost when somebody restarted a server.`)),
  );

  const body = await step.run("body", () =>
    stream.pipe(async function* () {
      if (!brokeOff.has(draft)) {
        brokeOff.add(draft);
        yield* words("This draft is different, because");
        throw new Error("the writer broke off");
      }
      yield* words("This one was written twice in part, and you saw it: the first try was taken back, the second is kept.");
    }),
  );

  await step.run("ask", () => stream.push({ ask: "Publish this draft?" }));
  const decision = await step.waitForEvent("decision", {
    event: "draft/decided",
    if: `async.data.draft == ${JSON.stringify(draft)}`,
    timeout: "1h",
  });
  if (!decision?.data.approved) return Response.json({ published: false });

  const closing = await step.run("closing", () => stream.pipe(words("Published, with your approval.")));
  return Response.json({ published: true, text: [opening, body, closing].join("\n\n") });
});

async function* words(text: string): AsyncIterable<string> {
  for (const word of text.split(/(?= )/)) {
    await sleep(45);
    yield word;
  }
}
