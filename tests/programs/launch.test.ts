/** `scripts/bin/launch.sh`: starts a program of the tree, on the runtime that PATH has. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { findProgram } from "../../scripts/check/prerequisites.ts";
import { ownRuntime } from "../../scripts/check/runtimes.ts";
import { makeTestPki } from "../support/pki.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Running, startCommand } from "../support/program.ts";

const folder = mkdtempSync(join(tmpdir(), "hypha-launch-"));
const launcher = fileURLToPath(new URL("../../scripts/bin/hypha-gateway", import.meta.url));

/** A node without peers drains well within this, in milliseconds. */
const drainMs = 60_000;

/** A folder with the programs that the launcher calls, and this runtime alone: with `node` or with `deno`. */
function pathWith(runtime: "node" | "deno" | undefined): string {
  const path = join(folder, `path-${runtime}`);
  mkdirSync(path);
  for (const program of ["basename", "dirname", "tr"]) {
    const found = findProgram(program);
    assert.ok(found !== undefined, program);
    symlinkSync(found, join(path, program));
  }
  if (runtime !== undefined) symlinkSync(process.execPath, join(path, runtime));
  return path;
}

const env = { PATH: pathWith(ownRuntime) };
const launch = (...args: string[]) => startCommand(launcher, args, { cwd: folder, env, detached: true });

/** Ends what a launcher left behind: a node that a signal did not reach would keep this test waiting. */
function endGroup({ child: { pid } }: Running): void {
  try {
    if (pid !== undefined) process.kill(-pid, "SIGKILL");
  } catch {
    // The group is gone, as it should be.
  }
}

const pki = await makeTestPki();
const files = await pki.write(join(folder, "certs"), await pki.node("gateway-01"), undefined);
const config = join(folder, "gateway.toml");
const address = `/ip4/127.0.0.1/tcp/${await freePort()}`;
writeFileSync(
  config,
  [
    `cert_pem = "${files.certPath}"`,
    `key_pem = "${files.keyPath}"`,
    `trust_pem = "${files.trustPath}"`,
    `listen_addresses = ["${address}"]`,
    `external_addresses = ["${address}"]`,
    "exclude_cidr = []",
  ].join("\n"),
);

const test = suite(`scripts/bin/launch.sh with ${ownRuntime} in PATH`);
test.after(() => rmSync(folder, { recursive: true, force: true }));

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  test(`${signal} reaches the node, which drains; the status is the node's`, async () => {
    const node = launch("run", "-c", config, "--log-format", "json");
    await node.waitFor("node.ready");
    const patience = setTimeout(() => endGroup(node), drainMs);
    node.signal(signal);
    const { code, signal: by } = await node.ended;
    clearTimeout(patience);
    assert.equal([code, by], [0, null]);
    assert.ok(node.events.some(({ event, message }) => event === "node.draining" && message.includes(signal)));
  });
}

const failures: [name: string, args: readonly string[], code: number, said: RegExp][] = [
  ["a node without its configuration", ["run", "-c", "missing.toml"], 2, /missing\.toml/],
  ["wrong usage", ["run", "--no-such-flag"], 2, /no-such-flag/],
];
for (const [name, args, expected, said] of failures) {
  test(`exits with ${expected} after ${name}`, async () => {
    const { code, signal, stderr } = await launch(...args).ended;
    assert.equal([code, signal], [expected, null]);
    assert.match(stderr, said);
  });
}

test("exits with 1 and says what is missing where PATH has neither node nor deno", async () => {
  const without = { PATH: pathWith(undefined) };
  const { code, stderr } = await startCommand(launcher, ["--help"], { cwd: folder, env: without }).ended;
  assert.is(code, 1);
  assert.match(stderr, /^Cannot start hypha-gateway: neither node nor deno is on PATH\n$/);
});

test.run();
