/** A CA that is published before it issues: nodes that join meanwhile take it into their trust, and it has no revocation list yet. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { freePort } from "../../scripts/program/free_ports.ts";
import { caPlace, caScript } from "../support/ca_program.ts";
import { certutilHere } from "../support/commands.ts";
import { type Running, runProgramOnce, startProgram } from "../support/program.ts";

const test = suite("a published CA");
const { folder, file, done } = caPlace("published");
const config = ["-c", join("ca", "ca.toml")];
const running: Running[] = [];
test.after(() => {
  for (const each of running) each.signal("SIGKILL");
  rmSync(folder, { recursive: true });
});

async function started(args: readonly string[], event: string, script?: URL): Promise<void> {
  const options = { cwd: folder, lifeMs: 90_000, ...(script === undefined ? {} : { script }) };
  const program = startProgram("gateway", ["run", ...args, "--log-format", "json"], options);
  running.push(program);
  await program.waitFor(event);
}

test("bug: while a next CA was published, no node could join, since that CA has no list yet", async () => {
  const [port, gatewayPort] = [await freePort(), await freePort()];
  const gateway = ["--gateway", `gateway-01=/ip4/127.0.0.1/tcp/${gatewayPort}`];
  await done("init", "--domain", "acme.example", "--url", `https://127.0.0.1:${port}`, ...gateway, "-d", "ca");
  writeFileSync(file("ca.toml"), readFileSync(file("ca.toml"), "utf8").replace("0.0.0.0", "127.0.0.1"));
  const root = ["--ca-cert", "ca/root-cert.pem", "--ca-key", "ca/root-key.pem"];
  const next = ["--out-cert", "ca/ca2-cert.pem", "--out-key", "ca/ca2-key.pem"];
  const made = await certutilHere(folder, "gen-intermediate-ca", ...root, "--common-name", "CA 2", ...next);
  assert.is(made.code, 0, made.stderr);
  const published = ["--cert", "ca/ca2-cert.pem", "--key", "ca/ca2-key.pem"];
  assert.match(await done("rotate", ...config, ...published), /is published/);
  await started(config, "ca.listening", caScript);
  const token = await done("token", ...config, "--role", "gateway", "--name", "gateway-01");
  writeFileSync(join(folder, "token"), token, { mode: 0o600 });
  const joined = await runProgramOnce("gateway", ["join", "token"], { cwd: folder });
  assert.is(joined.code, 0, joined.stderr);
  assert.is(readFileSync(join(folder, "gateway-trust.pem"), "utf8").match(/BEGIN CERTIFICATE/g)?.length, 3);
  await started(["-c", "gateway.toml"], "node.ready");
});

test.run();
