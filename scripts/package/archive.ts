/**
 * The archive of a release, and what lies beside it: the installer, the bill of materials, the checksums. Two builds of one commit on one
 * version of Node are equal, byte for byte.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { cpSync, createReadStream, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { pipeline } from "node:stream/promises";
import { manPage } from "../build/man_pages.ts";
import { programHelp } from "../build/help.ts";
import { runCommand } from "../check/command.ts";
import { programNames } from "../program/start.ts";
import { version } from "../program/version.ts";

/** Shells that a completion is written for, and the name of its file. */
const shells = {
  bash: (program: string) => program,
  zsh: (program: string) => `_${program}`,
  fish: (program: string) => `${program}.fish`,
};
const commandMs = 60_000;

/** The name of the archive, without an ending. */
export const releaseName = `hypha-${version}-${process.platform}-${process.arch}`;

/** Lays out what the archive holds, in `folder`. */
export async function layOut(
  root: string,
  { folder, executable, licenses }: { folder: string; executable: string; licenses: string },
): Promise<void> {
  const bin = join(folder, "bin");
  mkdirSync(bin, { recursive: true });
  cpSync(executable, join(bin, "hypha"));
  for (const program of programNames) symlinkSync("hypha", join(bin, program));
  mkdirSync(join(folder, "man"));
  for (const [program, commands] of await programHelp()) {
    writeFileSync(join(folder, "man", `${program}.1`), manPage(program, commands));
  }
  for (const [shell, fileOf] of Object.entries(shells)) {
    const completions = join(folder, "completions", shell);
    mkdirSync(completions, { recursive: true });
    await Promise.all(["hypha", ...programNames].map(async (program) => {
      const text = await output(join(bin, program), ["--completions", shell]);
      writeFileSync(join(completions, fileOf(program)), text);
    }));
  }
  cpSync(join(root, "docs/systemd"), join(folder, "systemd"), { recursive: true });
  // The documents of the npm package: together they have what their pages link to.
  const { files } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { files: readonly string[] };
  for (const name of files.filter((each) => each !== "dist")) {
    cpSync(join(root, name), join(folder, "doc", name), { recursive: true });
  }
  writeFileSync(join(folder, "doc/LICENSES.txt"), licenses);
}

/** Packs `folder/NAME` into `folder/NAME.tar.gz`: sorted, owned by root, of the time of the commit. */
export async function pack(folder: string, madeAt: Date): Promise<string> {
  const archive = `${releaseName}.tar.gz`;
  const time = `--mtime=@${Math.floor(madeAt.getTime() / 1_000)}`;
  const tar = ["--sort=name", time, "--owner=0", "--group=0", "--numeric-owner", "--mode=go=rX,u+rw"];
  // gzip's own time and name are left out: it reads a stream.
  await output("tar", [...tar, "-I", "gzip -n", "-cf", join(folder, archive), "-C", folder, releaseName]);
  return archive;
}

/** Writes `SHA256SUMS` of these files in the folder, as `sha256sum -c` reads it. */
export async function writeChecksums(folder: string, names: readonly string[]): Promise<void> {
  const lines: string[] = [];
  for (const name of names.toSorted()) {
    const hash = createHash("sha256");
    await pipeline(createReadStream(join(folder, name)), hash);
    lines.push(`${hash.digest("hex")}  ${name}\n`);
  }
  writeFileSync(join(folder, "SHA256SUMS"), lines.join(""));
}

async function output(command: string, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await runCommand(command, args, { timeoutMs: commandMs });
  if (code !== 0) throw new Error(`Cannot make the archive: ${command} ended with ${code}\n${stderr}`);
  return stdout;
}
