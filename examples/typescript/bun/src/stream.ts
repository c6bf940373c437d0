// A count-down that streams in two parts, with a pause between them in which no connection to this process is open.

import { step } from "inngest";
import { stream } from "inngest/experimental/durable-endpoints";
import { inngest } from "./client.js";

export const countDown = inngest.endpoint(async (req: Request) => {
  const from = Number(new URL(req.url).searchParams.get("from") ?? "6");
  const half = Math.ceil(from / 2);

  const first = await step.run("first half", () => stream.pipe(numbers(from, half)));
  await step.sleep("hold", "1s");
  const second = await step.run("second half", async () => {
    stream.push({ hold: "is over" });
    return stream.pipe(() => numbers(half, 0));
  });
  return Response.json({ counted: first + second });
});

/** The numbers from one down to another, which is not among them. */
async function* numbers(from: number, to: number): AsyncIterable<string> {
  for (let n = from; n > to; n--) {
    await Bun.sleep(50);
    yield `${n} `;
  }
}
