// Endpoints that stream.

import { NonRetriableError, step } from "inngest";
import { stream } from "inngest/experimental/durable-endpoints";
import { setTimeout as pause } from "node:timers/promises";
import { endpoint, listen, logged } from "./kit.mjs";

async function* words(...all) {
  for (const word of all) {
    await pause(5);
    yield word;
  }
}

const bytes = (...chunks) =>
  new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });

/** Counts up by steps of ten, a number every `ms`. */
const counting = (steps, ms) => async () => {
  await step.sleep("before", "1s");
  for (let tens = 0; tens < steps; tens += 1) {
    await logged(`tens-${tens}`, async () => {
      for (let one = 0; one < 10; one += 1) {
        stream.push(tens * 10 + one);
        await pause(ms);
      }
    });
  }
  return Response.json({ counted: steps * 10 });
};

listen({
  "/push": endpoint(async () => {
    stream.push("outside");
    const text = await logged("talk", () => {
      stream.push("Loading…");
      stream.push({ progress: 50 });
      stream.push(null);
      stream.push(["\n\n", "data: x"]);
      return "done";
    });
    await logged("silent");
    return new Response(text, { status: 202, headers: { "x-own": "yes" } });
  }),
  "/pipe": endpoint(async () => {
    // "é" is cut in two between chunks.
    const [head, tail] = [Uint8Array.of(0x61, 0xc3), Uint8Array.of(0xa9, 0x62)];
    const readable = await logged("readable", () => stream.pipe(bytes(head, tail)));
    const iterable = await logged("iterable", () => stream.pipe(words("one ", "two")));
    const factory = await logged("factory", () => stream.pipe(() => words("three ", "four")));
    return Response.json({ readable, iterable, factory });
  }),
  "/pipe-async": endpoint(async () => {
    await step.sleep("before", "1s");
    const readable = await logged("readable", () => stream.pipe(bytes(Uint8Array.of(0x61, 0xc3), Uint8Array.of(0xa9))));
    const iterable = await logged("iterable", () => stream.pipe(words("one ", "two")));
    const factory = await logged("factory", () => stream.pipe(() => words("three")));
    return Response.json({ readable, iterable, factory });
  }),
  "/rollback": endpoint(async () => {
    const tries = await logged("flaky", (n) => {
      stream.push(`try ${n}`);
      if (n < 3) throw new Error(`no ${n}`);
      return n;
    });
    return Response.json({ tries });
  }),
  "/mixed": endpoint(async () => {
    const a = await logged("a", () => (stream.push("a1"), "A"));
    await step.sleep("pause", "1s");
    const b = await logged("b", () => (stream.push("b1"), stream.push("b2"), "B"));
    const c = await logged("c", () => "C");
    stream.push("outside");
    return new Response(a + b + c, { status: 418, headers: { "content-type": "text/plain", "x-own": "yes" } });
  }),
  "/fails": endpoint(async () => {
    await step.sleep("pause", "1s");
    await logged("hopeless", () => {
      stream.push("before the end");
      throw new NonRetriableError("it is over");
    });
  }),
  "/fails-outside": endpoint(
    async () => {
      await step.sleep("pause", "1s");
      stream.push("again");
      throw new Error("outside of steps");
    },
    { retries: 1 },
  ),
  "/count": endpoint(counting(3, 15)),
  "/count-slowly": endpoint(counting(3, 100)),
  "/parallel": endpoint(async () => {
    const talking = (name) =>
      logged(name, async (n) => {
        for (let i = 0; i < 10; i += 1) {
          stream.push(`${name}${i}`);
          await pause(10);
        }
        if (name === "b" && n < 2) throw new Error("once more");
        return name;
      });
    return Response.json(await Promise.all(["a", "b", "c"].map(talking)));
  }),
  "/quiet": endpoint(async () => {
    await step.sleep("pause", "1s");
    return Response.json({ quiet: await logged("a", () => true) });
  }),
});
