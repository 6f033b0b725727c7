/** A running program takes the rules of its changed configuration; a file that is wrong changes nothing but the log. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeTestPki } from "../support/pki.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { startProgram } from "../support/program.ts";
import { startTransport, type TestTransport } from "../support/transports.ts";

const health = "/hypha-health/0.0.1";
const folder = mkdtempSync(join(tmpdir(), "hypha-rules-program-"));
const pki = await makeTestPki();

const test = suite("operator's rules of a running node");
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("a changed file and SIGHUP bring other rules within a second; a wrong file keeps those before, with an alarm", async () => {
  const port = await freePort();
  const files = await pki.write(folder, await pki.node("gw", { role: "gateway" }));
  const config = join(folder, "gateway.toml");
  const write = (rules: string) => {
    const lines = [
      `cert_pem = ${JSON.stringify(files.certPath)}`,
      `key_pem = ${JSON.stringify(files.keyPath)}`,
      `trust_pem = ${JSON.stringify(files.trustPath)}`,
      `listen_addresses = ["/ip4/127.0.0.1/tcp/${port}"]`,
      "require_roles = true",
      rules,
    ];
    writeFileSync(`${config}.new`, lines.join("\n"));
    renameSync(`${config}.new`, config);
  };
  const deny = (acts: string) =>
    `[[authorization.rules]]\neffect = "deny"\nacts = [${acts}]\npeers = ["spiffe://test.hypha/worker/*"]`;
  write("");
  const gateway = startProgram("gateway", ["run", "-c", config, "--log-format", "json"], { cwd: folder });
  const { peer } = await gateway.waitFor("node.ready");
  const worker = await startTransport({ name: "w-1", pki, node: await pki.node("w-1", { role: "worker" }) });
  const gatewayPeer = String(peer);
  await worker.ask({
    type: "dial",
    id: "d",
    target: { address: `/ip4/127.0.0.1/tcp/${port}/p2p/${gatewayPeer}` },
  });
  const answers = () => asks(worker, gatewayPeer);
  assert.ok(await answers(), "no rule yet");

  write(deny('"health"'));
  const loaded = await gateway.waitFor("rules.loaded");
  assert.is(loaded["rules"], 1);
  assert.not.ok(await answers(), "the rule holds for the connection that was open before");
  const refused = await gateway.waitFor("act.refused", ({ name }) => name === "w-1");
  assert.equal([refused["act"], refused["rule"]], ["health", "authorization.rules[0]"]);

  write(deny('"helth"'));
  const broken = await gateway.waitFor("rules.broken");
  assert.equal([broken["level"], broken["file"], broken["line"]], ["error", config, 8]);
  assert.match(String(broken["reason"]), /authorization\.rules\[0\]\.acts\[0\]: is "helth", perhaps "health"/);
  assert.not.ok(await answers(), "the rules before stay");

  write("");
  gateway.signal("SIGHUP");
  await gateway.waitFor("rules.loaded", ({ rules }) => rules === 0);
  assert.ok(await answers(), "nothing is denied any more");
  await worker.stop();
  gateway.signal("SIGTERM");
  assert.is((await gateway.ended).code, 0);
});

/** Whether a health request is answered. */
async function asks(from: TestTransport, peer: string): Promise<boolean> {
  const answer = await from.ask({ type: "request", id: "h", peer, protocol: health, message: {}, timeoutMs: 30_000 });
  return answer.type === "response";
}

test.run();
