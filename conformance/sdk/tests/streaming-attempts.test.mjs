// Attempts whose output comes late or at the same time as another's, by hand: what they stream is never mixed.

import assert from "node:assert/strict";
import { request } from "node:http";
import { after, before, describe, it } from "node:test";
import { Engine } from "../harness/engine.mjs";
import { fakeServer, json } from "../harness/fakes.mjs";
import { assertStream } from "../harness/invariants.mjs";
import { eventually, pause } from "../harness/program.mjs";
import { followStream } from "../harness/sse.mjs";
import * as wire from "../harness/wire.mjs";

const step = wire.hash("talk");
const sdk = { "x-inngest-sdk": "inngest-js:v4.24.0", "x-inngest-req-version": "2" };
const end = { status: "succeeded", response: { body: "end", statusCode: 200, headers: {} } };

describe("streaming: attempts", { concurrency: 4 }, () => {
  let engine;
  const ends = [];
  before(async () => {
    engine = await Engine.dev();
  });
  after(() => Promise.all([engine.kill(), ...ends.map((close) => close())]));

  /** A tee as the SDK opens one for each re-entry: its frames, one by one. */
  function tee(runId) {
    const sent = request(`${engine.url}/v1/realtime/publish/tee?channel=${runId}`, { method: "POST" });
    sent.on("error", () => {});
    sent.on("response", (response) => response.resume());
    const write = async (event, data) => {
      sent.write(`event: inngest.${event}\ndata: ${JSON.stringify(data)}\n\n`);
      await pause(40);
    };
    return {
      open: () => write("metadata", { runId }),
      push: (data) => write("stream", { data, hashedStepId: step }),
      commit: () => write("commit", { hashedStepId: step }),
      rollback: () => write("rollback", { hashedStepId: step }),
      response: async () => (await write("response", end), sent.end()),
      break: () => sent.destroy(),
    };
  }

  /** A run whose n-th re-entry is answered by the n-th of these. */
  async function run(...answers) {
    const runId = wire.ulid();
    let calls = 0;
    const endpoint = await fakeServer((_request, response) => answers[calls++]?.(response, runId));
    ends.push(endpoint.close);
    const body = wire.firstCheckpoint(runId, endpoint.url, [wire.sleeping("z", "")]);
    const { data } = await (await engine.post("/v1/checkpoint", body)).json();
    return { runId, endpoint, url: wire.streamUrl(engine, data.realtime_token) };
  }

  const ran = (response) => json(response, [wire.ran("talk", "done")], 206, sdk);
  const failed = (response) => {
    const error = { name: "Error", message: "not yet" };
    json(response, [{ ...wire.ran("talk"), op: "StepError", data: undefined, error }], 206, sdk);
  };
  const completing = async (response, runId) => {
    const last = tee(runId);
    await last.open();
    await last.response();
    json(response, wire.complete("end"), 206, sdk);
  };

  /** Live and late readers see what was committed: these, or one of these. */
  async function sees(url, ...allowed) {
    const live = await followStream(url, { within: 20_000 });
    const chunks = live.frames.filter(({ event }) => event === "inngest.stream").map(({ data }) => data.data);
    const expected = allowed.find((each) => each.every((chunk) => chunks.includes(chunk))) ?? allowed[0];
    assertStream(live.frames, expected);
    assertStream((await followStream(url, { within: 5_000 })).frames, expected);
  }

  it("output that comes after its step's report is kept, and committed", async () => {
    const { url } = await run(async (response, runId) => {
      const late = tee(runId);
      await late.open();
      ran(response);
      await pause(150);
      await late.push("a");
      await late.push("b");
      await late.commit();
    }, completing);
    await sees(url, ["a", "b"]);
  });

  it("output whose tee is opened after its step's report is kept while the run goes on", async () => {
    const { url } = await run(
      async (response, runId) => {
        ran(response);
        await pause(30);
        const late = tee(runId);
        await late.open();
        await late.push("a");
        await late.push("b");
        await late.commit();
      },
      async (response) => {
        await pause(500);
        json(response, [wire.ran("another", 1)], 206, sdk);
      },
      completing,
    );
    await sees(url, ["a", "b"]);
  });

  it("a commit that never comes is made up for by the step's report", async () => {
    const { url } = await run(async (response, runId) => {
      const cut = tee(runId);
      await cut.open();
      await cut.push("a");
      await cut.push("b");
      cut.break();
      ran(response);
    }, completing);
    await sees(url, ["a", "b"]);
  });

  it("late output of a failed attempt is not the next attempt's", async () => {
    const { url } = await run(
      async (response, runId) => {
        failed(response);
        await pause(150);
        const late = tee(runId);
        await late.open();
        await late.push("bad");
        await late.rollback();
      },
      async (response, runId) => {
        const good = tee(runId);
        await good.open();
        await good.push("good");
        await good.commit();
        ran(response);
      },
      completing,
    );
    await sees(url, ["good"]);
  });

  it("a failed attempt whose rollback never comes is rolled back", async () => {
    const { url } = await run(
      async (response, runId) => {
        const cut = tee(runId);
        await cut.open();
        await cut.push("bad");
        cut.break();
        failed(response);
      },
      async (response, runId) => {
        const good = tee(runId);
        await good.open();
        await good.push("good");
        await good.commit();
        ran(response);
      },
      completing,
    );
    await sees(url, ["good"]);
  });

  it("a call that broke off and streams on beside the one in its stead: they are not mixed", async () => {
    let old;
    const { url } = await run(
      async (response, runId) => {
        old = tee(runId);
        await old.open();
        await old.push("old 0");
        await old.push("old 1");
        response.destroy();
      },
      async (response, runId) => {
        const own = tee(runId);
        await own.open();
        await own.push("new 0");
        await old.push("old 2");
        await own.push("new 1");
        await old.push("old 3");
        await old.commit();
        await own.push("new 2");
        await own.commit();
        ran(response);
      },
      completing,
    );
    await sees(url, ["new 0", "new 1", "new 2"], ["old 0", "old 1", "old 2", "old 3"]);
  });

  it("two attempts that stream at the same time, as after a restart of the engine: one of them is told", async () => {
    const { url } = await run(async (response, runId) => {
      const [one, other] = [tee(runId), tee(runId)];
      await one.open();
      await one.push("one 0");
      await other.open();
      await other.push("other 0");
      await one.push("one 1");
      await other.push("other 1");
      await one.commit();
      await other.push("other 2");
      await other.commit();
      ran(response);
    }, completing);
    await sees(url, ["other 0", "other 1", "other 2"], ["one 0", "one 1"]);
  });

  it("frames that are cut anywhere, and bytes that are none, do no harm", async () => {
    const { url, runId } = await run(async (response, id) => {
      const sent = request(`${engine.url}/v1/realtime/publish/tee?channel=${id}`, { method: "POST" });
      sent.on("error", () => {});
      const text = [
        `event: inngest.metadata\ndata: {"runId":"${id}"}\n\n`,
        ":\n\n",
        "event: inngest.unheard-of\ndata: {}\n\n",
        "event: inngest.stream\ndata: no JSON\n\n",
        `event: inngest.stream\ndata: {"data":"é🙂","hashedStepId":"${step}"}\n\n`,
        `event: inngest.commit\ndata: {"hashedStepId":"${step}"}\n\n`,
        "event: inngest.str",
      ].join("");
      for (const byte of Buffer.from(text)) sent.write(Buffer.of(byte));
      await pause(200);
      ran(response);
    }, completing);
    await sees(url, ["é🙂"]);
    assert.equal((await engine.ended(runId)).status, "Completed");
  });

  it("a tee of an unknown run is refused or taken for nothing", async () => {
    const response = await engine.post(`/v1/realtime/publish/tee?channel=${wire.ulid()}`, ":\n\n");
    assert.ok([200, 404, 410].includes(response.status), `${response.status}`);
    await eventually("the engine is well", async () => (await fetch(`${engine.url}/health`)).ok);
  });
});
