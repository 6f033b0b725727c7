/**
 * `npm run package [-- --out DIR]`: writes a release into `release/`: an archive with all programs as one executable, its installer, its bill
 * of materials, and checksums.
 *
 * @module
 */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { bundledPackages, licensesOf } from "./build/licenses.ts";
import { runCommand } from "./check/command.ts";
import { layOut, pack, releaseName, writeChecksums } from "./package/archive.ts";
import { writeExecutable } from "./package/executable.ts";
import { sbomOf } from "./package/sbom.ts";

const root = fileURLToPath(new URL("..", import.meta.url));

function outOf(): string {
  try {
    return parseArgs({ options: { out: { type: "string", default: "release" } } }).values.out;
  } catch (error) {
    console.error(`Cannot run: ${error instanceof Error ? error.message : String(error)}
Usage: npm run package [-- --out DIR]`);
    return process.exit(2);
  }
}

const out = resolve(outOf());
const folder = join(out, releaseName);

/** The time of the commit; of a tree without history the time of its version. */
async function commitTime(): Promise<Date> {
  const { code, stdout } = await runCommand("git", ["log", "-1", "--format=%ct"], { cwd: root, timeoutMs: 10_000 });
  return new Date(code === 0 ? Number(stdout) * 1_000 : 0);
}

/** Node's own licence stays with it. It lies beside Node, and inside the npm package that installs it. */
function licenses(inputs: Parameters<typeof licensesOf>[1]): string {
  const beside = resolve(process.execPath, "../..");
  const inPackage = join(beside, "node_modules", `node-${process.platform}-${process.arch}`);
  const path = [beside, inPackage].map((folder) => join(folder, "LICENSE")).find((each) => existsSync(each));
  if (path === undefined) {
    throw new Error(`Cannot make a release: the licence of Node is in neither ${beside} nor ${inPackage}`);
  }
  const node = readFileSync(path, "utf8");
  return `${licensesOf(root, inputs)}\n${"-".repeat(80)}\n\nNode ${process.versions.node}\n\n${node}`;
}

mkdirSync(out, { recursive: true });
rmSync(folder, { recursive: true, force: true });
// What is here is listed in the checksums: a former release is not part of this one.
for (const name of readdirSync(out).filter((each) => /^hypha-.*\.(tar\.gz|cdx\.json)$|^SHA256SUMS\.sig$/.test(each))) {
  rmSync(join(out, name));
}
const work = mkdtempSync(join(out, ".hypha-work-"));
try {
  const executable = join(work, "hypha");
  const { inputs } = await writeExecutable(root, { work, path: executable });
  await layOut(root, { folder, executable, licenses: licenses(inputs) });
  const madeAt = await commitTime();
  const archive = await pack(out, madeAt);
  const sbom = `${releaseName}.cdx.json`;
  writeFileSync(join(out, sbom), await sbomOf(root, bundledPackages(root, inputs), madeAt));
  copyFileSync(join(root, "scripts/package/install.sh"), join(out, "install.sh"));
  await writeChecksums(out, [archive, sbom, "install.sh"]);
  console.log(`Wrote ${join(out, archive)}`);
} finally {
  for (const made of [work, folder]) rmSync(made, { recursive: true, force: true });
}
