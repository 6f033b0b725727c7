/**
 * `npm run build [-- --out DIR]`: writes `dist/`, or a new folder: all that the package has besides documents: types, the library, the
 * programs, their pages for `man`, licences.
 *
 * @module
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { bundleLibrary, bundlePrograms, librarySources, readManifest } from "./build/bundles.ts";
import { programHelp } from "./build/help.ts";
import { keepReachable } from "./build/declarations.ts";
import { licensesOf } from "./build/licenses.ts";
import { manPage } from "./build/man_pages.ts";
import { runCommand } from "./check/command.ts";

const compilerMs = 180_000;
const root = fileURLToPath(new URL("..", import.meta.url));
const usual = join(root, "dist");
const dist = resolve(outOf());

function outOf(): string {
  try {
    const { out } = parseArgs({ options: { out: { type: "string", default: usual } } }).values;
    // A former build is replaced; nothing else is removed.
    if (out !== usual && existsSync(out)) throw new Error(`${out} is there already: name a new folder`);
    return out;
  } catch (error) {
    console.error(`Cannot run: ${error instanceof Error ? error.message : String(error)}
Usage: npm run build [-- --out DIR]`);
    return process.exit(2);
  }
}

async function writeTypes(): Promise<void> {
  const compiler = join(root, "node_modules/typescript/bin/tsc");
  const args = [compiler, "-p", join(root, "tsconfig.build.json"), "--outDir", join(dist, "types")];
  const { code, stdout, stderr } = await runCommand(process.execPath, args, { cwd: root, timeoutMs: compilerMs });
  if (code !== 0) throw new Error(`Cannot write the types: tsc ended with ${code}\n${stdout}${stderr}`);
  const manifest = readManifest(root);
  const entries = Object.values(librarySources(manifest)).map((path) => path.replace(/\.ts$/, ".d.ts"));
  const lacking = [...keepReachable(join(dist, "types"), entries)].filter((name) => !(name in manifest.dependencies));
  if (lacking.length === 0) return;
  throw new Error(
    `Cannot build: exported types import ${lacking.join(", ")}, which package.json has not in dependencies`,
  );
}

async function writeManPages(): Promise<void> {
  mkdirSync(join(dist, "man"));
  for (const [program, commands] of await programHelp()) {
    writeFileSync(join(dist, "man", `${program}.1`), manPage(program, commands));
  }
}

rmSync(dist, { recursive: true, force: true });
await writeTypes();
const library = await bundleLibrary({ root, outdir: join(dist, "library") });
const programs = await bundlePrograms({ root, outdir: join(dist, "programs") });
await writeManPages();
writeFileSync(join(dist, "LICENSES.txt"), licensesOf(root, { ...library.inputs, ...programs.inputs }));
console.log(`Wrote ${relative(process.cwd(), dist) || "."}`);
