// The page in a browser against the real program: streams, roll-backs, decisions, reloads and `kill -9`.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Program } from "./program.mjs";
import { Tab, useBrowser } from "./tab.mjs";

useBrowser();

for (const colorScheme of ["light", "dark"]) {
  test(`an answer streams, rolls back, is approved and is done (${colorScheme})`, async (t) => {
    const program = await Program.start(t);
    const tab = await Tab.open(t, program.url, { colorScheme });
    const { page } = tab;
    await tab.ask("How does a promise outlive a crash?");

    await tab.becomes("streaming");
    await tab.hasWords(20);
    const style = (selector) =>
      page.locator(selector).first().evaluate((word) => {
        const { color, fontStyle } = getComputedStyle(word);
        return { color, fontStyle };
      });
    const provisional = await style("#answer .word.provisional");
    assert.equal(provisional.fontStyle, "italic");
    await tab.picture(`1-first-attempt-${colorScheme}`);

    await page.locator("#answer .taken-back").first().waitFor();
    await tab.becomes("retrying");
    assert.equal(await page.locator("#rolled-back").textContent(), "attempt failed, rolled back");
    assert.match(await style("#answer .taken-back").then(({ fontStyle }) => fontStyle), /italic/);
    await tab.picture(`2-rolled-back-${colorScheme}`);
    await tab.isInTheSecondAttempt();
    await tab.picture(`3-second-attempt-${colorScheme}`);

    await tab.becomes("waiting");
    assert.equal(await page.locator("#answer .provisional").count(), 0);
    await page.waitForTimeout(500);
    const permanent = await style("#answer .word");
    assert.equal(permanent.fontStyle, "normal");
    assert.notEqual(permanent.color, provisional.color);
    await tab.picture(`4-waiting-${colorScheme}`);

    await tab.approve();
    const { answer, approved } = await tab.ends();
    assert.equal(approved, true);
    assert.ok(answer.split(/\s+/).length >= 100, answer);
    assert.match(await page.locator("#closing").textContent(), /Approved/);
    await page.waitForTimeout(300);
    await tab.picture(`5-done-${colorScheme}`);
    await page.setViewportSize({ width: 390, height: 844 });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "it fits a telephone");
    await tab.picture(`6-narrow-${colorScheme}`);
  });
}

test("a reload in the middle keeps everything, and each word once", async (t) => {
  const program = await Program.start(t);
  const tab = await Tab.open(t, program.url);
  await tab.ask("What is left after a reload?");
  await tab.hasWords(10);
  const before = [await tab.page.evaluate(() => globalThis.shown)];
  await tab.page.reload();
  await tab.isInTheSecondAttempt();
  before.push(await tab.page.evaluate(() => globalThis.shown));
  await tab.page.reload();
  await tab.hasWords(50);
  assert.equal(await tab.page.locator("#asked").textContent(), "What is left after a reload?");
  await tab.becomes("waiting");
  await tab.page.reload();
  await tab.approve();
  const { answer } = await tab.ends();
  for (const text of before.flat()) assert.ok(answer.startsWith(text), text);
  await tab.page.reload();
  assert.equal((await tab.ends()).answer, answer);
});

test("killed with -9 in the middle and while it waits, it loses nothing and says each word once", async (t) => {
  const program = await Program.start(t);
  const tab = await Tab.open(t, program.url);
  await tab.ask("Who goes on when the process is gone?");
  await tab.isInTheSecondAttempt();
  await program.kill();
  await tab.becomes("reconnecting");
  await tab.picture("7-reconnecting");
  await program.start();
  await tab.becomes("streaming");
  await tab.becomes("waiting");
  await program.kill();
  await tab.becomes("reconnecting");
  // The decision is made while nobody is there to hear it.
  await tab.approve();
  await tab.page.waitForTimeout(300);
  await program.start();
  assert.equal((await tab.ends()).approved, true);
});

test("a question that is asked while the server is away is answered when it is back", async (t) => {
  const program = await Program.start(t);
  const tab = await Tab.open(t, program.url);
  await program.kill();
  await tab.ask("Is anybody there?");
  await tab.becomes("reconnecting");
  await program.start();
  await tab.becomes("streaming");
  await tab.hasWords(3);
  assert.match(await tab.text(), /^You ask: /);
});

test("a rejected answer is not published", async (t) => {
  const program = await Program.start(t);
  const tab = await Tab.open(t, program.url);
  await tab.ask("May this be said?");
  await tab.becomes("waiting");
  await tab.reject();
  const { approved } = await tab.ends();
  assert.equal(approved, false);
  assert.match(await tab.page.locator("#closing").textContent(), /Rejected/);
  await tab.page.waitForTimeout(300);
  await tab.picture("8-rejected");
});

test("two tabs on one run show the same, and a decision in one is seen by the other", async (t) => {
  const program = await Program.start(t);
  const one = await Tab.open(t, program.url);
  await one.ask("Does everybody see the same?");
  await one.hasWords(5);
  const two = await Tab.open(t, await one.link());
  assert.equal(new URL(two.page.url()).hash, "", "the token does not stay in the address");
  await two.hasWords(20);
  assert.equal(await two.page.locator("#asked").textContent(), "Does everybody see the same?");
  await Promise.all([one.becomes("waiting"), two.becomes("waiting")]);
  assert.equal(await one.text(), await two.text());
  // Both decide: the first to arrive counts, and both are told the same.
  // (At once: the second button may be gone when a hand would get to it.)
  const press = (tab, button) => tab.page.locator(button).evaluate((element) => element.click());
  await Promise.all([press(one, "#approve"), press(two, "#reject")]);
  const [seen, other] = await Promise.all([one.ends(), two.ends()]);
  assert.deepEqual(seen, other);
});

test("a run that cannot be read is told, and another can be asked", async (t) => {
  const program = await Program.start(t);
  const gone = "/wait?runId=01ARZ3NDEKTSV4RRFFQ69G5FAV&token=nonsense";
  const tab = await Tab.open(t, `${program.url}#${encodeURIComponent(gone)}`);
  await tab.becomes("failed");
  await tab.ask("And now?");
  await tab.becomes("streaming");
});

test("a link to another site's stream is not followed", async (t) => {
  const program = await Program.start(t);
  const tab = await Tab.open(t, `${program.url}#${encodeURIComponent("http://127.0.0.2:1/wait?runId=x")}`);
  await tab.page.getByRole("button", { name: "Ask" }).waitFor();
  assert.equal(await tab.page.locator("#run").isVisible(), false);
});
