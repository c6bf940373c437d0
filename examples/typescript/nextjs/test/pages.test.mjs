// The pages in a browser, clicked through. Pictures go to the directory that `SCREENSHOTS` names, if it does.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { startEngine, startExample } from "../../harness.mjs";

const FOLDER = fileURLToPath(new URL("../", import.meta.url));

let browser;
before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
  });
});
after(() => browser.close());

/** Opens one of the pages, of a server and an engine that are the test's own. */
async function open(t, path, options = {}) {
  const context = await browser.newContext({ viewport: { width: 900, height: 720 }, ...options });
  const complaints = [];
  // Before the servers end, as a page complains of lost connections.
  t.after(() => context.close());
  t.after(() => assert.deepEqual(complaints, []));

  const engine = await startEngine(t);
  const next = join(FOLDER, "node_modules/next/dist/bin/next");
  const { url } = await startExample(t, engine, process.execPath, [next, "start"], { cwd: FOLDER });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("pageerror", (error) => complaints.push(`${error}`));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.goto(url + path);
  return page;
}

const status = (page, text) => page.getByRole("status").filter({ hasText: text }).waitFor();
const press = (page, name) => page.getByRole("button", { name }).click();

async function picture(page, name) {
  const directory = process.env.SCREENSHOTS;
  if (!directory) return;
  await mkdir(directory, { recursive: true });
  await page.screenshot({ path: join(directory, `${name}.png`) });
}

test("an order is answered in one go, or by the proxy when the payment service fails once", async (t) => {
  const page = await open(t, "/");
  const receipt = page.locator("#receipt");

  await press(page, "Place order");
  await status(page, "Done");
  assert.match(await receipt.textContent(), /lamp.*after 2 tries.*\/api\/wait/s);
  await picture(page, "order");

  await page.getByRole("textbox", { name: "Item" }).fill("chair");
  await page.getByRole("checkbox").uncheck();
  await press(page, "Place order");
  await receipt.getByText("chair").waitFor();
  assert.match(await receipt.textContent(), /at the first try.*\/api\/order/s);
});

for (const colorScheme of ["light", "dark"]) {
  test(`a draft streams, is rolled back in part, waits, and is published (${colorScheme})`, async (t) => {
    const page = await open(t, "/", { colorScheme });
    await page.getByRole("link", { name: "Draft" }).click();
    await page.getByRole("textbox", { name: "Topic" }).fill("promises");
    await press(page, "Write");

    const draft = page.locator("#draft");
    await draft.locator(".provisional").getByText("about promises").waitFor();
    assert.equal(await draft.locator(".committed").count(), 0);
    await picture(page, `draft-1-provisional-${colorScheme}`);

    await draft.locator(".rolled-back").waitFor();
    await status(page, "rolled back, trying again");
    await picture(page, `draft-2-rolled-back-${colorScheme}`);
    await draft.locator(".provisional").waitFor();

    await status(page, "waiting for you");
    await page.getByText("Publish this draft?").waitFor();
    const parts = () => draft.locator("p").evaluateAll((all) => all.map((p) => [p.className, p.textContent.trim()]));
    const [opening, failed, written, ...rest] = await parts();
    assert.deepEqual(rest, []);
    assert.match(opening.join(": "), /^committed: Much has been said about promises, .* restarted a server\.$/);
    assert.match(failed.join(": "), /^rolled-back: This draft is different, because/);
    assert.match(written.join(": "), /^committed: This one was written twice in part, .* is kept\.$/);
    await picture(page, `draft-3-waiting-${colorScheme}`);

    await press(page, "Approve");
    await status(page, "published");
    assert.deepEqual((await parts()).at(-1), ["committed", "Published, with your approval."]);
    assert.equal(await page.getByRole("button", { name: "Approve" }).count(), 0);
    await page.setViewportSize({ width: 390, height: 844 });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "it fits a telephone");
    await picture(page, `draft-4-published-${colorScheme}`);
  });
}

test("a draft that is rejected is not published", async (t) => {
  const page = await open(t, "/draft");
  await press(page, "Write");
  await press(page, "Reject");
  await status(page, "rejected");
  assert.equal(await page.locator("#draft").getByText("Published").count(), 0);
});
