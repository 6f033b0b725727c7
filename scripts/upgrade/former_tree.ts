/**
 * The tree of a former version, from git: with this tree's libraries.
 *
 * @module
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
/**
 * The version that is tried where there is no tag. In those before it an aggregator that takes over may count a trainer's last update once
 * more (CHANGELOG.md, "without its training and round"), and then the model differs.
 */
const formerCommit = "c196e876e4e3c0c9e7036e04c3b808a4c759c17d";
const archiveMaxBytes = 256 * 1_048_576;

/** The newest tag; {@linkcode formerCommit} where there is none. */
function newestTag(): string {
  const { status, stdout } = spawnSync("git", ["describe", "--tags", "--abbrev=0"], { cwd: root, encoding: "utf8" });
  return status === 0 ? stdout.trim() : formerCommit;
}

/** Writes the tree of a commit, by default of the newest version, into a new folder. Throws with a sentence where git has no such commit. */
export function makeFormerTree(commit = newestTag()): { readonly tree: string; readonly commit: string } {
  const archive = archiveOf(commit);
  const tree = join(mkdtempSync(join(tmpdir(), "hypha-former-")), "tree");
  mkdirSync(tree);
  execFileSync("tar", ["x", "-C", tree], { input: archive });
  if (!existsSync(join(tree, "node_modules"))) symlinkSync(join(root, "node_modules"), join(tree, "node_modules"));
  return { tree, commit };
}

function archiveOf(commit: string): Uint8Array {
  const { status, stdout, stderr } = spawnSync("git", ["archive", "--format=tar", commit], {
    cwd: root,
    maxBuffer: archiveMaxBytes,
  });
  if (status === 0) return stdout;
  throw new Error(
    `Cannot read commit ${commit}: ${stderr.toString().trim()}. Fetch the whole history (git fetch --unshallow), or name another with --from`,
  );
}
