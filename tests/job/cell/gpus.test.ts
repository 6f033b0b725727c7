// Devices in cells, with a node that every machine has: at level full and root, for a worker that is root and an ordinary one.
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, closeSync, openSync, statSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runtimeBinary } from "../../../scripts/demo/processes.ts";
import { temporary } from "../../support/job_world.ts";
import { lacking, needing } from "../../support/prerequisites.ts";

/** Anyone may open it, and it is not in a cell by itself. Where the machine has none, root makes a node of another name for `/dev/zero`. */
const fuse = "/dev/fuse";
const child = fileURLToPath(new URL("../../support/device_child.ts", import.meta.url));
const isDeno = "Deno" in globalThis, isRoot = process.getuid?.() === 0;
const ordinary = 65_534;

const test = suite("devices of cells");
const made = temporary();
test.after(() => made.remove());
const device = isOpen(fuse) ? fuse : makeNode();
const withDevice = lacking(needing(test, "bwrap", "bash", "prlimit", "setpriv"), device === undefined ? [fuse] : []);

function isOpen(path: string): boolean {
  const status = statSync(path, { throwIfNoEntry: false });
  if (status?.isCharacterDevice() !== true || (status.mode & 0o006) !== 0o006) return false;
  try {
    closeSync(openSync(path, "r"));
    return true;
  } catch {
    return false; // The machine forbids devices outside /dev.
  }
}

function makeNode(): string | undefined {
  const path = join(made.path, "node");
  chmodSync(made.path, 0o755);
  spawnSync("mknod", ["-m", "666", path, "c", "1", "5"], { stdio: "ignore" });
  return isOpen(path) ? path : undefined;
}

/** Runs the child as root or as an ordinary user. */
async function tryDevice(level: string, user: "root" | "ordinary") {
  const place = temporary();
  chmodSync(place.path, 0o755);
  const drop = user === "ordinary" && isRoot;
  if (drop) chownSync(place.path, ordinary, ordinary);
  const as = drop ? ["setpriv", `--reuid=${ordinary}`, `--regid=${ordinary}`, "--clear-groups"] : [];
  const [runtime, node] = [await runtimeBinary(isDeno ? "deno" : "node"), await runtimeBinary("node")];
  const flags = isDeno ? ["run", "-A", "--no-check", "--quiet"] : ["--no-warnings"];
  const [file = "", ...args] = [...as, runtime, ...flags, child, place.path, node, level, device ?? ""];
  try {
    const run = spawn(file, args, {
      cwd: place.path,
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, HOME: place.path, DENO_DIR: `${place.path}/deno` },
    });
    let text = "";
    run.stdout.setEncoding("utf8").on("data", (piece: string) => text += piece);
    await new Promise((resolve) => run.once("close", resolve));
    return JSON.parse(text) as null | {
      readonly listed: readonly string[];
      readonly unlisted: readonly string[];
      readonly usable: { readonly usable: readonly number[]; readonly problems: readonly string[] };
      readonly missing: { readonly usable: readonly number[]; readonly problems: readonly string[] };
    };
  } finally {
    place.remove();
  }
}

const places: [level: string, user: "root" | "ordinary"][] = isRoot
  ? [["full", "root"], ["root", "root"], ["full", "ordinary"]]
  : [["full", "ordinary"]];
for (const [level, user] of places) {
  withDevice(`a listed device is there at level ${level}, ${user}; one that is not listed is not`, async () => {
    const seen = await tryDevice(level, user);
    if (seen === null) return; // The machine has no such level: the cells' own tests say so.
    assert.equal(seen.listed, ["opened", "sys", "job"]);
    assert.equal(seen.unlisted, ["job"]);
    assert.equal(seen.usable, { usable: [0], problems: [] });
    assert.equal(seen.missing.usable, []);
    assert.match(seen.missing.problems.join(), /^GPU 0 of .*: \/dev\/hypha-missing is no device/);
  });
}

test.run();
