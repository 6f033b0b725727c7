/** What `init` writes is a network on one machine as it stands: no address is edited, no range taken out. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeTestPki } from "../support/pki.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { runProgramOnce, startProgram } from "../support/program.ts";

const folder = mkdtempSync(join(tmpdir(), "hypha-init-network-"));
const pki = await makeTestPki();
mkdirSync(join(folder, "certs"));
writeFileSync(join(folder, "certs", "ca-bundle.pem"), pki.trustPem);
writeFileSync(join(folder, "certs", "crls.pem"), await pki.crls({ number: 1n }));
for (const [name, role] of [["gw", "gateway"], ["w-1", "worker"]] as const) {
  const { chainPem, keyPem } = await pki.node(name, { role });
  writeFileSync(join(folder, "certs", `${name}-cert.pem`), chainPem);
  writeFileSync(join(folder, "certs", `${name}-key.pem`), keyPem, { mode: 0o600 });
}

const test = suite("hypha-ROLE init");
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("a worker joins a gateway of the same machine, both from init's own files", async () => {
  const port = await freePort();
  const made = await Promise.all([
    runProgramOnce("gateway", ["init", "-o", "g.toml", "-n", "gw", "--listen", `/ip4/0.0.0.0/tcp/${port}`], {
      cwd: folder,
    }),
    runProgramOnce("worker", ["init", "-o", "w.toml", "-n", "w-1", "--gateway", `/ip4/127.0.0.1/tcp/${port}`], {
      cwd: folder,
    }),
  ]);
  assert.equal(made.map(({ code, stderr }) => [code, stderr]), [[0, ""], [0, ""]]);
  const written = ["g.toml", "w.toml"].map((file) => readFileSync(join(folder, file), "utf8"));
  for (const text of written) assert.match(text, '\ntrust_domain = "test.hypha"\n');
  const run = (role: "gateway" | "worker", file: string) =>
    startProgram(role, ["run", "-c", file, "--log-format", "json"], { cwd: folder });
  const gateway = run("gateway", "g.toml");
  await gateway.waitFor("node.ready");
  const worker = run("worker", "w.toml");
  await worker.waitFor("node.ready");
  const excluded = worker.events.filter(({ event }) => event === "config.excluded");
  assert.equal(excluded.map(({ message }) => message), [
    "Used although exclude_cidr has its range, because it is configured by hand: gateway_addresses[0] (127.0.0.0/8)",
  ]);
  assert.is((await worker.waitFor("trust.loaded"))["lists"], 2, "the revocation lists that init found");
  assert.equal(gateway.events.filter(({ event }) => event.startsWith("config.")), [], "nothing of it is in doubt");
  await gateway.waitFor("peer.established", ({ name }) => name === "w-1");
  for (const node of [worker, gateway]) node.signal("SIGTERM");
  assert.equal((await Promise.all([worker.ended, gateway.ended])).map(({ code }) => code), [0, 0]);
});

test.run();
