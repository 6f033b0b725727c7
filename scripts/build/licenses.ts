/**
 * The licences of the packages that are inside the bundles.
 *
 * @module
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import type { BundleReport } from "./bundles.ts";

interface Bundled {
  readonly name: string;
  readonly version: string;
  readonly license?: string;
  readonly author?: string | { readonly name: string };
}

/** The packages that bundled files are from, as `name@version`. */
export function bundledPackages(root: string, inputs: BundleReport["inputs"]): ReadonlySet<string> {
  const folders = new Set(Object.keys(inputs).flatMap((path) => packageFolder(root, path) ?? []));
  return new Set([...folders].map((folder) => {
    const { name, version } = manifestOf(join(root, folder)) as Bundled;
    return `${name}@${version}`;
  }));
}

/** One text: each package with its version and the licence files that it comes with. Sorted, so that a build can be repeated. */
export function licensesOf(root: string, inputs: BundleReport["inputs"]): string {
  const folders = new Set(Object.keys(inputs).flatMap((path) => packageFolder(root, path) ?? []));
  const parts = [...folders].sort().map((folder) => licenseOf(join(root, folder)));
  return `dist/programs and dist/library contain these packages.\n\n${
    [...new Set(parts)].join(`\n${"-".repeat(80)}\n\n`)
  }`;
}

/** The folder of the package that a bundled file belongs to; undefined for our own files. */
function packageFolder(root: string, path: string): string | undefined {
  if (!path.includes("node_modules/")) return undefined;
  let folder = posix.dirname(path);
  // Packages have further package.json files, without a name, in folders of theirs.
  while (manifestOf(join(root, folder))?.name === undefined) folder = posix.dirname(folder);
  return folder;
}

function manifestOf(folder: string): Partial<Bundled> | undefined {
  const path = join(folder, "package.json");
  return existsSync(path) ? JSON.parse(readFileSync(path, "utf8")) : undefined;
}

function licenseOf(folder: string): string {
  const { name, version, license, author } = manifestOf(folder) as Bundled;
  const files = readdirSync(folder).filter((file) => /^(licen[cs]e|copying|notice)/i.test(file)).sort();
  const texts = files.map((file) => readFileSync(join(folder, file), "utf8").trim());
  if (texts.length === 0 && license === undefined) throw new Error(`Cannot bundle ${name}: it names no licence`);
  const holder = typeof author === "object" ? author.name : author;
  const own = texts.length === 0
    ? [`Licence: ${license}${holder === undefined || holder === "" ? "" : `. Author: ${holder}`}`]
    : texts;
  return `${name} ${version}\n\n${own.join("\n\n")}\n`;
}
