// The client that the page loads is the one of the project.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { BUNDLE, bundle } from "../bundle.mjs";

test("the bundle is up to date", async () => {
  assert.ok((await readFile(BUNDLE, "utf8")) === (await bundle()), "run `npm run bundle` in examples/assistant");
});
