// A browser tab with the page, and what a test does with it.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before } from "node:test";
import { chromium } from "playwright-core";

const TIMEOUT_MS = 30_000;

let browser;

/** Starts the browser once for a file's tests. */
export function useBrowser() {
  before(async () => {
    browser = await chromium.launch({
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"],
    });
  });
  after(() => browser?.close());
}

export class Tab {
  #page;

  /** Opens the page in a tab that shares nothing with others. Errors in the page fail the test. */
  static async open(t, url, options = {}) {
    const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options });
    t.after(() => context.close());
    return Tab.#of(t, await context.newPage(), url);
  }

  static async #of(t, page, url) {
    const tab = new Tab();
    tab.#page = page;
    page.setDefaultTimeout(TIMEOUT_MS);
    const errors = [];
    page.on("pageerror", (error) => errors.push(error));
    t.after(() => {
      if (errors[0]) throw errors[0];
    });
    await page.addInitScript(watch);
    await page.goto(url);
    return tab;
  }

  get page() {
    return this.#page;
  }

  async ask(question) {
    await this.#page.getByLabel("Your question").fill(question);
    await this.#page.keyboard.press("Enter");
  }

  /** Waits until the run is in this state. */
  async becomes(state) {
    await this.#page.locator(`#status[data-state="${state}"]`).waitFor();
  }

  /** Waits until so many words count. */
  async hasWords(count) {
    const has = (count) => document.querySelectorAll("#answer .word:not(.taken-back)").length >= count;
    await this.#page.waitForFunction(has, count);
  }

  /** Waits until the first attempt was taken back and the second has said a few words more than it had. */
  async isInTheSecondAttempt() {
    await this.#page.locator("#answer .taken-back").first().waitFor();
    await this.#page.locator("#answer .taken-back").first().waitFor({ state: "detached" });
    await this.hasWords(50);
  }

  async approve() {
    await this.#page.getByRole("button", { name: "Approve" }).click();
  }

  async reject() {
    await this.#page.getByRole("button", { name: "Reject" }).click();
  }

  text() {
    return this.#page.locator("#answer").textContent();
  }

  /** The link for another tab, once there is one. */
  async link() {
    const link = this.#page.getByRole("link", { name: "another tab" });
    await link.waitFor();
    return link.evaluate((link) => link.href);
  }

  /**
   * Waits for the end, and checks that the page shows the response's answer, and that it never showed anything but a
   * beginning of it. Gives the response.
   */
  async ends() {
    await this.becomes("done");
    const response = JSON.parse(await this.#page.locator("#response pre").textContent());
    assert.equal(await this.text(), response.answer);
    await this.showedOnlyBeginningsOf(response.answer);
    assert.equal(await this.#page.locator(".card :is(.provisional, .taken-back)").count(), 0);
    return response;
  }

  /** Checks every text that was ever on the page since it was loaded. */
  async showedOnlyBeginningsOf(answer) {
    const texts = await this.#page.evaluate(() => globalThis.shown);
    for (const text of texts) assert.ok(answer.startsWith(text), `never part of the answer: ${text}`);
    return texts;
  }

  /** Takes a picture, if `SCREENSHOTS` names a directory for it. */
  async picture(name) {
    const directory = process.env.SCREENSHOTS;
    if (!directory) return;
    await mkdir(directory, { recursive: true });
    await this.#page.screenshot({ path: join(directory, `${name}.png`) });
  }
}

/** Runs in the page: keeps every text of words that count that it ever shows. */
function watch() {
  globalThis.shown = [];
  const look = () => {
    const words = document.querySelectorAll("#answer .word:not(.taken-back)");
    const text = Array.from(words, (word) => word.textContent).join("");
    if (text !== globalThis.shown.at(-1)) globalThis.shown.push(text);
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
}
