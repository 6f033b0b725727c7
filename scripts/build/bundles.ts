/**
 * The JavaScript of the package. The library and the programs are bundles of their own, each with its chunks in one folder, so that a
 * thread's file is found next to whatever chunk starts it.
 *
 * Exports of the library import the packages of `dependencies`, whose types are part of its own: an application has one copy of each.
 * All other packages are inside, at the versions that our use of libp2p's internals was written for. The programs contain everything.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { build, type Metafile, type Plugin } from "esbuild";
import type { HelpTexts } from "../program/help_texts.ts";
import { nodeMin } from "../program/require_node.ts";
import { buildConsolePage, withPage } from "./console_page.ts";
import { helpTexts } from "./help.ts";

/** The part of package.json that the build reads. */
export interface BuildManifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly exports: Readonly<Record<string, string | { readonly types: string; readonly default: string }>>;
  readonly bin: Readonly<Record<string, string>>;
}

/** Reads it. */
export function readManifest(root: string): BuildManifest {
  return JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as BuildManifest;
}

/** Started from a file's URL by `actors/files/read_crls.ts`. */
export const threads = { crl_worker: "actors/files/crl_worker.ts" };
/** Started by `actors/pkcs11/start_token_child.ts`: a process, which loads the optional package koffi. */
export const processes = { token_child: "actors/pkcs11/token_child.ts" };
/** Started by `actors/ca/asked_thread.ts`, which is in no export of the library. */
export const caThreads = { list_thread: "actors/ca/list_thread.ts", backup_thread: "actors/ca/backup_thread.ts" };

/** The source of each export, by its file in the package. `types` is the source's own path below `dist/types/`. */
export function librarySources({ exports }: BuildManifest): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.values(exports).flatMap((target) =>
      typeof target === "string"
        ? []
        : [[basename(target.default, ".js"), target.types.replace("./dist/types/", "").replace(/\.d\.ts$/, ".ts")]]
    ),
  );
}

/** What a bundle was made of and what it imports, as esbuild reports it. */
export type BundleReport = Metafile;

interface Bundle {
  readonly root: string;
  readonly outdir: string;
}

/** Writes the exports of the library. */
export function bundleLibrary({ root, outdir }: Bundle): Promise<BundleReport> {
  const manifest = readManifest(root);
  const external = Object.keys(manifest.dependencies).flatMap((name) => [name, `${name}/*`]);
  return bundle({ root, outdir, entries: { ...librarySources(manifest), ...threads, ...processes }, external });
}

/** Writes the programs, and the executor that trains the demo's model. */
export async function bundlePrograms({ root, outdir }: Bundle): Promise<BundleReport> {
  const programs = Object.values(readManifest(root).bin).map((path) => basename(path, ".js"));
  const entries = {
    ...Object.fromEntries(programs.map((name) => [name, `scripts/${name}.ts`])),
    train_digits: "scripts/executors/train_digits.ts",
    ...threads,
    ...caThreads,
    ...processes,
  };
  const page = await buildConsolePage();
  const plugins = [withHelp(await helpTexts()), withPage(page.files)];
  const report = await bundle({ root, outdir, entries, external: [], plugins });
  for (const [path, { imports }] of Object.entries(report.outputs)) importLater(join(root, path), imports);
  return { ...report, inputs: { ...report.inputs, ...page.inputs } };
}

/**
 * Names what a file imports while it runs in a way that Deno does not read before. Deno loads and keeps each file that an `import()` names by a
 * literal: help took 2.4 times as long, and a gateway 7 MB more. Only for programs: those who bundle the library need the literals.
 */
function importLater(file: string, imports: Metafile["outputs"][string]["imports"]): void {
  const later = imports.filter(({ kind }) => kind === "dynamic-import");
  const names = new Set(later.map(({ path }) => `"./${basename(path)}"`));
  if (names.size === 0) return;
  let text = readFileSync(file, "utf8");
  for (const name of names) {
    // A bundler that writes it in another way must not bring the literals back unseen.
    if (!text.includes(`import(${name})`)) throw new Error(`${file} has no import(${name})`);
    text = text.replaceAll(`import(${name})`, `import([${name}][0])`);
  }
  writeFileSync(file, text);
}

/** Puts the programs' help in the place of the source's, which has none. */
export function withHelp(texts: HelpTexts): Plugin {
  const contents = `export const helpTexts = ${JSON.stringify(texts)};\n`;
  return {
    name: "help",
    setup: ({ onLoad }) => onLoad({ filter: /[\\/]program[\\/]help_texts\.ts$/ }, () => ({ contents, loader: "js" })),
  };
}

/** Characters in a line of a bundle, roughly: a stack trace of it names a place. */
const lineMax = 160;

/** Bundles sources without blanks. Names stay, for stack traces; shorter ones would save little. */
export async function bundle(
  { root, outdir, entries, external, plugins = [] }: Bundle & {
    /** Paths of sources by the name of their file. */
    readonly entries: Readonly<Record<string, string>>;
    readonly external: readonly string[];
    readonly plugins?: readonly Plugin[];
  },
): Promise<BundleReport> {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: { ...entries },
    external: [...external],
    plugins: [...plugins],
    outdir,
    bundle: true,
    splitting: true,
    format: "esm",
    platform: "node",
    target: `node${nodeMin}`,
    minifyWhitespace: true,
    minifySyntax: true,
    lineLimit: lineMax,
    legalComments: "inline",
    metafile: true,
    logLevel: "warning",
  });
  return metafile;
}
