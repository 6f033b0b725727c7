/** Configurations that the existing nodes' own `init` wrote: ours start from them as they are. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseConfig } from "../../actors/config/load.ts";
import type { Role } from "../../pki/certificate.ts";
import { makeTestPki } from "../support/pki.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Running, startProgram } from "../support/program.ts";

const roles: readonly Role[] = ["gateway", "data", "worker", "scheduler"];
const textOf = (role: Role) => readFileSync(new URL(`../fixtures/foreign/${role}.toml`, import.meta.url), "utf8");

const test = suite("configurations of the existing nodes");
const folder = mkdtempSync(join(tmpdir(), "hypha-foreign-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const warned: Readonly<Record<Role, readonly string[]>> = {
  gateway: ["config.quic", "config.excluded", "config.protocol"],
  data: ["config.quic", "config.excluded"],
  worker: ["config.quic", "config.excluded"],
  scheduler: ["config.quic", "config.excluded", "config.protocol"],
};
for (const role of roles) {
  test(`load: a ${role}'s, with one warning for each thing that is taken otherwise`, () => {
    const around = { environment: {}, flags: {} };
    const config = Result.getOrThrow(parseConfig(role, { file: `${role}.toml`, text: textOf(role) }, around));
    assert.equal(config.warnings?.map(({ event }) => event), warned[role]);
    assert.equal(config.listenAddresses.length, 1);
    if (role === "gateway") {
      assert.is(config.telemetry.endpoint, "http://127.0.0.1:4317");
      assert.is(config.telemetry.sampleRatio, 0.1);
    }
  });
}

test("start: the four of them become one network", async () => {
  const pki = await makeTestPki();
  const port = await freePort();
  mkdirSync(join(folder, "mnist"));
  writeFileSync(join(folder, "mnist", "a"), "0");
  mkdirSync(join(folder, "work"), { mode: 0o700 });
  mkdirSync(join(folder, "bin"));
  writeFileSync(join(folder, "bin", "uv"), "#!/bin/sh\n", { mode: 0o755 });
  for (const role of roles) {
    const { chainPem, keyPem } = await pki.node(role, { role });
    writeFileSync(join(folder, `${role}-cert.pem`), chainPem);
    writeFileSync(join(folder, `${role}-key.pem`), keyPem, { mode: 0o600 });
    writeFileSync(join(folder, `${role}-trust.pem`), pki.trustPem);
    writeFileSync(join(folder, `${role}.toml`), textOf(role).replaceAll("8080", String(port)));
  }
  const start = (role: Role): Running =>
    startProgram(role, ["run", "-c", `${role}.toml`, "--log-format", "json"], {
      cwd: folder,
      env: { PATH: `${join(folder, "bin")}:${process.env["PATH"]}` },
    });
  const gateway = start("gateway");
  await gateway.waitFor("node.ready");
  const nodes = new Map<Role, Running>([["gateway", gateway]]);
  for (const role of roles.slice(1)) nodes.set(role, start(role));
  for (const [role, node] of nodes) {
    await node.waitFor("node.ready");
    const config = node.events.filter(({ event }) => warned[role].includes(event)).map(({ event }) => event);
    assert.equal(config, warned[role], role);
  }
  for (const node of nodes.values()) node.signal("SIGTERM");
  const ended = await Promise.all([...nodes.values()].map(({ ended }) => ended));
  assert.equal(ended.map(({ code }) => code), [0, 0, 0, 0]);
});

test.run();
