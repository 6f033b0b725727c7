/**
 * Makes the files of the console's page from `actors/console/page/`: one script, one style sheet, and the HTML that names both.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build, type Metafile, type Plugin, stop } from "esbuild";
import type { PageFiles } from "../../actors/console/serve_console.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = "actors/console/page";
/** The first browsers with `light-dark()` (caniuse.com), of spring 2024. */
const target = ["chrome123", "firefox121", "safari17.5"];

/** The files, and what they were made of, as esbuild reports it. */
export interface BuiltPage {
  readonly files: PageFiles;
  readonly inputs: Metafile["inputs"];
}

/** Makes them. */
export async function buildConsolePage(): Promise<BuiltPage> {
  const { outputFiles, metafile } = await build({
    absWorkingDir: root,
    entryPoints: { script: `${folder}/page.tsx`, style: `${folder}/page.css` },
    outdir: join(root, "page"), // nothing is written
    write: false,
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    target,
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "inline",
    metafile: true,
    logLevel: "warning",
  });
  if ("Deno" in globalThis) await stop(); // its process keeps Deno alive
  const textOf = (end: string) => outputFiles.find(({ path }) => path.endsWith(end))?.text ?? "";
  const html = readFileSync(join(root, folder, "page.html"), "utf8");
  return { files: { html, js: textOf(".js"), css: textOf(".css") }, inputs: metafile.inputs };
}

/** Puts the page's files in the place of what makes them. */
export function withPage(files: PageFiles): Plugin {
  const contents = `const files = ${
    JSON.stringify(files)
  };\nexport const consolePage = () => Promise.resolve(files);\n`;
  return {
    name: "page",
    setup: ({ onLoad }) => onLoad({ filter: /[\\/]program[\\/]console_page\.ts$/ }, () => ({ contents, loader: "js" })),
  };
}
