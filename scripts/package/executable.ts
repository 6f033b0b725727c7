/**
 * All programs and Node itself in one file (Node's documentation, "Single executable applications"). It needs nothing but the C and C++
 * libraries.
 *
 * @module
 */
import { chmodSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { build, type Metafile, type Plugin } from "esbuild";
import { caThreads, threads, withHelp } from "../build/bundles.ts";
import { buildConsolePage, withPage } from "../build/console_page.ts";
import { helpTexts } from "../build/help.ts";
import { runCommand } from "../check/command.ts";

/** Node finds what is injected by this name, and knows by the fuse that there is something. */
const resource = { name: "NODE_SEA_BLOB", fuse: "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2" };
const stepMs = 180_000;

/** Modules that start something from a file of the source tree, and those that the executable has in their place. */
const embedded: readonly { readonly filter: RegExp; readonly by: string }[] = [
  { filter: /[\\/]runtime[\\/]thread\.ts$/, by: "embedded_thread.ts" },
  { filter: /[\\/]pkcs11[\\/]start_token_child\.ts$/, by: "embedded_token_child.ts" },
];

/** Puts them in their place. */
function withEmbedded(root: string): Plugin {
  const folder = join(root, "scripts/package");
  return {
    name: "embedded",
    setup: ({ onLoad }) => {
      for (const { filter, by } of embedded) {
        onLoad(
          { filter },
          () => ({ contents: readFileSync(join(folder, by), "utf8"), loader: "ts", resolveDir: folder }),
        );
      }
    },
  };
}

/**
 * Writes the executable.
 *
 * @param root The source tree.
 * @param work A folder for what it is made of.
 * @returns What went into it.
 */
export async function writeExecutable(root: string, { work, path }: { work: string; path: string }): Promise<Metafile> {
  mkdirSync(work, { recursive: true });
  const page = await buildConsolePage();
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { main: "scripts/package/main.ts", ...threads, ...caThreads },
    plugins: [withHelp(await helpTexts()), withPage(page.files), withEmbedded(root)],
    outdir: work,
    bundle: true,
    format: "cjs",
    platform: "node",
    target: `node${process.versions.node}`,
    // Modules know their own URL in the source tree only; here it serves messages.
    define: { "import.meta.url": "__hyphaUrl" },
    banner: { js: 'const __hyphaUrl = "file:///hypha";' },
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: "none",
    metafile: true,
    logLevel: "warning",
    logOverride: { "empty-import-meta": "silent" },
  });
  const names = [...Object.keys(threads), ...Object.keys(caThreads)];
  const config = join(work, "sea.json");
  const blob = join(work, "hypha.blob");
  // Paths from here, because they become part of it: a build is the same in every folder.
  writeFileSync(
    config,
    JSON.stringify({
      main: "main.js",
      output: "hypha.blob",
      disableExperimentalSEAWarning: true,
      // V8's cache differs from build to build. Without it a program starts 0.1 s later, and anyone can repeat a release byte for byte.
      useCodeCache: false,
      execArgv: ["--disable-warning=ExperimentalWarning"],
      assets: Object.fromEntries(names.map((name) => [`${name}.js`, `${name}.js`])),
    }),
  );
  await run(work, ["--experimental-sea-config", config]);
  copyFileSync(process.execPath, path);
  chmodSync(path, 0o755);
  const injector = join(root, "node_modules/postject/dist/cli.js");
  await run(root, [injector, path, resource.name, blob, "--sentinel-fuse", resource.fuse]);
  return { ...metafile, inputs: { ...metafile.inputs, ...page.inputs } };
}

async function run(cwd: string, args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await runCommand(process.execPath, args, { cwd, timeoutMs: stepMs });
  if (code !== 0) throw new Error(`Cannot write the executable: node ${args.join(" ")}\n${stdout}${stderr}`);
}
