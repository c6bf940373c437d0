// A site for the browser tests: pages, the built client, and a run that the test scripts.

import { readFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { type TestContext, after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { type Browser, type Page, chromium } from "playwright-core";
import { type Call, type Handle, serve } from "../server.js";

const DIST = new URL("../../dist/", import.meta.url);

let browser: Browser | undefined;
let hookScript = "";

/** Starts the browser and builds the hook's page, once for a file's tests. */
export function useBrowser(): void {
  before(async () => {
    const entry = fileURLToPath(new URL("./hook-page.js", import.meta.url));
    const define = { "process.env.NODE_ENV": '"development"' };
    const { outputFiles } = await build({ entryPoints: [entry], bundle: true, format: "esm", write: false, define });
    hookScript = outputFiles[0]?.text ?? "";
    browser = await chromium.launch({
      executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
      args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    });
  });
  after(() => browser?.close());
}

/** Opens the site in a tab of its own; what is not a page goes to `handle`. Errors in the page fail the test. */
export async function visit(t: TestContext, handle: Handle): Promise<{ page: Page; url: string; calls: Call[] }> {
  if (!browser) throw new Error("useBrowser comes first");
  const calls: Call[] = [];
  const { url } = await serve(t, (call, res) => {
    if (isPage(call.path)) return void respond(call.path, res);
    calls.push(call);
    handle(call, res);
  });
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  const errors: Error[] = [];
  page.on("pageerror", (error) => errors.push(error));
  t.after(() => {
    if (errors[0]) throw errors[0];
  });
  await page.goto(`${url}/`);
  return { page, url, calls };
}

function isPage(path: string): boolean {
  return (
    path === "/" || path === "/hook" || path === "/hook.js" || path === "/favicon.ico" || path.startsWith("/client/")
  );
}

async function respond(path: string, res: ServerResponse): Promise<void> {
  const html = (body: string): void => {
    res.writeHead(200, { "content-type": "text/html; charset=utf-8" }).end(`<!doctype html><title>test</title>${body}`);
  };
  const script = (text: string): void => {
    res.writeHead(200, { "content-type": "text/javascript; charset=utf-8" }).end(text);
  };
  if (path === "/hook") html('<div id="root"></div><script type="module" src="/hook.js"></script>');
  else if (path === "/hook.js") script(hookScript);
  else if (path.startsWith("/client/")) script(await readFile(new URL(path.slice("/client/".length), DIST), "utf8"));
  else html("");
}
