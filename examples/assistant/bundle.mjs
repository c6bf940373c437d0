// Bundles the project's TypeScript client into the one file that the page loads: `npm run bundle`.

import { writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const CLIENT = new URL("../../clients/typescript/", import.meta.url);

export const BUNDLE = new URL("page/onward-client.js", import.meta.url);

const BANNER = `// Generated from clients/typescript by \`npm run bundle\` in examples/assistant. Do not edit.
// SPDX-License-Identifier: Apache-2.0 OR MIT
`;

/** Gives the text that the bundle ought to have. It is made of the client's sources, so no build of it can be stale. */
export async function bundle() {
  const { outputFiles } = await build({
    absWorkingDir: fileURLToPath(CLIENT),
    entryPoints: ["src/index.ts"],
    bundle: true,
    format: "esm",
    target: "es2022",
    charset: "utf8",
    banner: { js: BANNER },
    write: false,
  });
  return outputFiles[0].text;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await writeFile(BUNDLE, await bundle());
