// Devices in cells, with a node that every machine has: at level full and root, for a worker that is root and an ordinary one.
import { spawn } from "node:child_process";
import { chmodSync, chownSync, statSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runtimeBinary } from "../../../scripts/demo/processes.ts";
import { temporary } from "../../support/job_world.ts";
import { lacking, needing } from "../../support/prerequisites.ts";

/** Anyone may open it: `mknod c 1 5` makes the same, and this one is not in a cell by itself. */
const device = "/dev/fuse";
const child = fileURLToPath(new URL("../../support/device_child.ts", import.meta.url));
const isDeno = "Deno" in globalThis, isRoot = process.getuid?.() === 0;
const ordinary = 65_534;

const test = suite("devices of cells");
const withDevice = lacking(needing(test, "bwrap", "bash", "prlimit", "setpriv"), isOpen() ? [] : [device]);

function isOpen(): boolean {
  const status = statSync(device, { throwIfNoEntry: false });
  return status?.isCharacterDevice() === true && (status.mode & 0o006) === 0o006;
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
  const [file = "", ...args] = [...as, runtime, ...flags, child, place.path, node, level, device];
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
