// Better than the original: outcomes come at once, are errors where the run failed, and may keep their form.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { output, start, value } from "../harness/client.mjs";
import { Endpoint } from "../harness/endpoint.mjs";
import { Engine } from "../harness/engine.mjs";

describe("better: outcomes", { concurrency: 8 }, () => {
  let engine, endpoint, features;
  before(async () => {
    engine = await Engine.dev();
    [endpoint, features] = await Promise.all([Endpoint.start("requests", engine), Endpoint.start("features", engine)]);
  });
  after(() => Promise.all([engine.stop(), endpoint.stop(), features.stop()]));

  it("a waiter has the outcome within 150 ms of the handler's end", async () => {
    const delays = [];
    for (let i = 0; i < 5; i += 1) {
      const run = await start(`${endpoint.url}/ending`);
      const { status } = await output(run.url);
      const at = Date.now();
      assert.equal(status, 200);
      const ended = endpoint.lines().find(({ kind, runId }) => kind === "returning" && runId === run.runId);
      delays.push(at - ended.at);
    }
    const median = delays.sort((a, b) => a - b)[2];
    assert.ok(median <= 150, `${delays} ms`);
  });

  it("thirty waiters of one run have the same outcome", async () => {
    const run = await start(`${endpoint.url}/ending`);
    const all = await Promise.all(Array.from({ length: 30 }, () => output(run.url)));
    assert.deepEqual(new Set(all.map(({ status, text }) => `${status} ${text}`)), new Set(['200 {"done":true}']));
  });

  it("a waiter that leaves does not hold up the others", async () => {
    const run = await start(`${endpoint.url}/ending`);
    const leaving = output(run.url, { signal: AbortSignal.timeout(200) }).catch(() => "left");
    assert.equal(await leaving, "left");
    assert.deepEqual(await value(run.url), { done: true });
  });

  const original = (url) => `${url}&response=original`;

  it("response=original: the handler's own status, headers and body", async () => {
    const [teapot, page] = await Promise.all([start(`${endpoint.url}/teapot`), start(`${endpoint.url}/page`)]);
    const { status, headers, text } = await output(original(teapot.url));
    assert.deepEqual([status, text], [418, "short and stout"]);
    assert.match(headers.get("content-type"), /^text\/plain/);
    assert.deepEqual([headers.get("x-own"), headers.get("cache-control")], ["yes", "max-age=60"]);
    assert.equal(headers.get("x-content-type-options"), "nosniff");
    assert.match(headers.get("content-security-policy"), /^sandbox/);
    const html = await output(original(page.url));
    assert.deepEqual([html.status, html.text], [404, "<h1>ünïcödé</h1>"]);
    assert.match(html.headers.get("content-type"), /^text\/html/);
  });

  it("response=original: an answer without a body, and a redirect", async () => {
    const [empty, moved] = await Promise.all([start(`${endpoint.url}/empty`), start(`${endpoint.url}/moved`)]);
    const none = await output(original(empty.url));
    assert.deepEqual([none.status, none.text, none.headers.get("x-own")], [204, "", "yes"]);
    const redirect = await output(original(moved.url), { redirect: "manual" });
    assert.deepEqual([redirect.status, redirect.headers.get("location")], [303, "/elsewhere?a=1"]);
  });

  it("without it the form is the one that endpointProxy() reads", async () => {
    const run = await start(`${endpoint.url}/teapot`);
    await output(original(run.url));
    const { status, headers, json } = await output(run.url);
    assert.equal(status, 200);
    assert.match(headers.get("content-type"), /^application\/json/);
    assert.equal(json(), "short and stout");
  });

  it("response=original: a plain value is JSON, a failure an error", async () => {
    const [plain, failed] = await Promise.all([start(`${endpoint.url}/ending`), start(`${features.url}/not-retriable`)]);
    const { status, json } = await output(original(plain.url));
    assert.deepEqual([status, json()], [200, { done: true }]);
    assert.ok((await output(original(failed.url))).status >= 500);
  });

  it("the outcome is the same bytes however often it is asked for, also after a restart of the engine", async () => {
    const own = await Engine.dev();
    const program = await Endpoint.start("requests", own);
    try {
      const run = await start(`${program.url}/teapot`);
      const asked = async (url) => {
        const { status, text } = await output(url);
        return `${status} ${text}`;
      };
      const before = [await asked(run.url), await asked(original(run.url)), await asked(run.url)];
      await own.restart();
      const afterwards = [await asked(run.url), await asked(original(run.url)), await asked(run.url)];
      assert.deepEqual(afterwards, before);
      assert.equal(before[0], before[2]);
    } finally {
      await Promise.all([own.kill(), program.kill()]);
    }
  });

  it("failed runs answer 5xx with an error, however often they are asked for", async () => {
    const run = await start(`${features.url}/not-retriable`);
    const first = await output(run.url);
    const second = await output(run.url);
    assert.ok(first.status >= 500);
    assert.equal(typeof first.json().error, "object");
    assert.equal(second.text, first.text);
    assert.equal(second.status, first.status);
  });
});
