// Runs on any Node of the machine. Installs from the lock file if that is not done yet, then runs the given command with the
// pinned Node and Deno first in PATH. Only that command writes to standard output.
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

// An older Node cannot run the npm that installs. The commands below run on the pinned Node.
const nodeMin = 20;
if (Number(process.versions.node.split(".")[0]) < nodeMin) {
  console.error(
    `Cannot start: this tree's npm commands need Node ${nodeMin} or newer, and this is Node ${process.versions.node}: ` +
      "install it from https://nodejs.org/en/download",
  );
  process.exit(1);
}

const root = fileURLToPath(new URL("..", import.meta.url));
const bin = join(root, "node_modules", ".bin");
const stamp = join(root, "node_modules", ".ensured");
const locked = createHash("sha256").update(readFileSync(join(root, "package-lock.json"))).digest("hex");

/**
 * Runs a command to its end. Signals that are sent to this process alone go on to it: the caller's `kill` is meant for the
 * command. Ctrl-C is not passed on in a terminal, which sends it to both: a second one would end a program at once.
 */
function run(command, args, { env = process.env, stdio = "inherit" } = {}) {
  const shell = process.platform === "win32";
  const passed = { SIGTERM: true, SIGHUP: true, SIGINT: !process.stdin.isTTY };
  const listeners = Object.entries(passed).map(([signal, passes]) => [signal, () => passes && child.kill(signal)]);
  // Before the command starts: a signal in between would end this process alone. Listeners are called after this turn.
  for (const [signal, listener] of listeners) process.on(signal, listener);
  const child = spawn(command, args, { cwd: root, stdio, shell, env });
  return new Promise((resolve) => {
    const end = (status) => {
      for (const [signal, listener] of listeners) process.off(signal, listener);
      resolve(status);
    };
    child.on("error", (error) => {
      console.error(`Cannot run ${command}: ${error.message}`);
      end(1);
    });
    child.on("exit", (status, signal) => end(signal ? 128 + constants.signals[signal] : status ?? 1));
  });
}

// The stamp is written after npm ci, which empties node_modules first: a failed install leaves none behind.
const isInstalled = () =>
  [stamp, join(bin, "node"), join(bin, "deno")].every((path) => existsSync(path)) &&
  readFileSync(stamp, "utf8") === locked;

async function install() {
  console.error("Installing what package-lock.json names (once; about half a minute) …");
  const flags = ["--include=dev", "--ignore-scripts=false", "--engine-strict=false", "--loglevel=error"];
  const status = await run("npm", ["ci", "--no-audit", "--no-fund", ...flags], { stdio: ["inherit", 2, 2] });
  if (status === 0) return writeFileSync(stamp, locked);
  console.error("Cannot install: npm ci failed (see the reason above). Try again with: node scripts/ensure.mjs");
  process.exit(status);
}

/** Names the process that installs. It lies outside node_modules, which npm ci empties. */
const lock = join(root, ".installing");

/** Waits until no other process installs. */
async function takeLock() {
  for (let isFirst = true;; isFirst = false) {
    try {
      return writeFileSync(lock, String(process.pid), { flag: "wx" });
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    const holder = removeIfDead();
    if (isFirst && holder !== undefined) {
      console.error(`Waiting for process ${holder}, which installs. If it does something else, remove ${lock} …`);
    }
    await sleep(200);
  }
}

/** Returns the process that has the lock; undefined where it has ended. */
function removeIfDead() {
  const taken = `${lock}.${process.pid}`;
  let holder;
  try {
    holder = readFileSync(lock, "utf8");
    process.kill(Number(holder), 0);
  } catch (error) {
    if (error.code === "ENOENT") return undefined;
    if (error.code !== "ESRCH") return holder; // a process of another user
    try {
      renameSync(lock, taken);
      // Another process may have removed it first and have the lock now.
      if (readFileSync(taken, "utf8") !== holder) linkSync(taken, lock);
      rmSync(taken);
    } catch {
      rmSync(taken, { force: true });
    }
    return undefined;
  }
  return holder;
}

if (!isInstalled()) {
  await takeLock();
  const release = () => rmSync(lock, { force: true });
  process.on("exit", release); // it fails
  if (!isInstalled()) await install();
  process.off("exit", release);
  release();
}

const [command, ...args] = process.argv.slice(2);
if (command) {
  const env = {
    ...process.env,
    PATH: `${bin}${delimiter}${process.env.PATH}`,
    NODE: join(bin, "node"),
    npm_node_execpath: join(bin, "node"),
  };
  process.exit(await run(command, args, { env }));
}
