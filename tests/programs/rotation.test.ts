/** A node as a process whose certificate and key files are replaced while it runs. */
import { chmodSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { permissionsFor } from "../../scripts/program/deno_permissions.ts";
import { makeTestPki, type TestNode } from "../support/pki.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { runProgramOnce, startProgram } from "../support/program.ts";

const test = suite("hypha-gateway run, with files that change");
const folder = mkdtempSync(join(tmpdir(), "hypha-rotation-"));
const pki = await makeTestPki();
const port = await freePort();
const address = `/ip4/127.0.0.1/tcp/${port}`;
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** A folder with a gateway's configuration and files. */
async function place(name: string, node: TestNode) {
  const certificates = join(folder, name);
  const files = await pki.write(certificates, node);
  const config = join(folder, `${name}.toml`);
  writeFileSync(
    config,
    [
      `cert_pem = "${files.certPath}"`,
      `key_pem = "${files.keyPath}"`,
      `trust_pem = "${files.trustPath}"`,
      `listen_addresses = ["${address}"]`,
      `external_addresses = ["${address}"]`,
      "exclude_cidr = []",
      "[rotation]",
      "drain_ms = 5000",
    ].join("\n"),
  );
  return { certificates, config, ...files };
}

/** As an operator's tool does it: written aside, then moved into place. Returns the path. */
function put(path: string, text: string, mode: number): string {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  chmodSync(`${path}.new`, mode);
  renameSync(`${path}.new`, path);
  return path;
}

test("takes up a renewed certificate, keeps its pair where the key is open to others, and takes up another key", async () => {
  const first = await pki.node("gateway-01");
  const gateway = await place("gateway-01", first);
  const friend = await place("friend", await pki.node("friend"));
  // On Deno with the least permissions of the role: watching needs no more.
  const permissions = permissionsFor("gateway", {
    configPath: gateway.config,
    certificateFolder: gateway.certificates,
    readPaths: [],
    addresses: ["127.0.0.1"],
  });
  const running = startProgram("gateway", ["run", "-c", gateway.config, "--log-format", "json"], { permissions });
  const before = (await running.waitFor("node.listening"))["peer"];
  await running.waitFor("node.ready");
  put(gateway.certPath, (await pki.node("gateway-01", { keyPem: first.keyPem })).chainPem, 0o644);
  assert.is((await running.waitFor("identity.renewed"))["key"], "same");
  put(gateway.keyPath, first.keyPem, 0o644);
  const kept = await running.waitFor("identity.broken");
  assert.equal([kept.level, kept["file"], kept["problem"]], ["warn", gateway.keyPath, "open-to-others"]);
  assert.match(kept.message, `chmod 600 ${gateway.keyPath}`);
  const next = await pki.node("gateway-01");
  put(gateway.keyPath, next.keyPem, 0o600);
  put(gateway.certPath, next.chainPem, 0o644);
  const renewed = await running.waitFor("identity.renewed", (event) => event["key"] === "new");
  assert.equal([renewed.level, renewed["formerPeer"]], ["warn", before]);
  await running.waitFor("node.ready", ({ peer }) => peer === renewed["peer"]);
  await running.waitFor("previous_identity.gone");
  // The PeerID in the address is the former one: the address alone still leads there, and the probe says so.
  const args = ["probe", "-c", friend.config, `${address}/p2p/${before}`, "--timeout", "10000"];
  const probed = await runProgramOnce("gateway", args);
  assert.is(probed.code, 0, probed.stderr);
  assert.match(probed.stdout, `(${renewed["peer"]}, which has another key than ${before})`);
  running.signal("SIGTERM");
  assert.is((await running.ended).code, 0);
});

test.run();
