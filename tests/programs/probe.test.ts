/** What `probe` finds and says, in its object and in its line, against whole nodes in this process. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "@std/toml";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ProbeReport } from "../../scripts/program/probe_report.ts";
import { makeNodeNetwork } from "../support/node_network.ts";
import { makeTestPki, type TestNode, type TestPki } from "../support/pki.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { runProgramOnce } from "../support/program.ts";

const network = await makeNodeNetwork();
const partner = await makeTestPki({ organization: "Partner" });
const stranger = await makeTestPki({ organization: "Stranger" });
const partnerTrust = join(network.folder, "partner.pem");
writeFileSync(partnerTrust, partner.trustPem);

const gateway = await network.start("gateway-01", "gateway", {
  trustDomains: [{ name: "partner.example", trust: partnerTrust, crlsPem: undefined, roles: undefined }],
});
const [address = ""] = (await gateway.said("node.listening"))["addresses"] as string[];
// It is reached through the gateway's relay alone.
const hidden = await network.start(
  "data-01",
  "data",
  { gatewayAddresses: [address], listenAddresses: [], datasetPath: network.slices } as never,
);
const { peer: hiddenPeer } = await hidden.said("node.ready");
const [gatewayPeer = ""] = address.split("/p2p/").slice(-1);

/** Files and configuration of somebody who probes. */
async function prober(name: string, pki: TestPki, more: Record<string, unknown> = {}, node?: TestNode) {
  const folder = join(network.folder, name);
  const files = await pki.write(folder, node ?? await pki.node(name, { role: "gateway" }));
  const config = join(folder, "gateway.toml");
  const common = { cert_pem: files.certPath, key_pem: files.keyPath, trust_pem: files.trustPath };
  writeFileSync(
    config,
    stringify({ ...common, exclude_cidr: [], listen_addresses: ["/ip4/127.0.0.1/tcp/0"], ...reached, ...more }),
  );
  return { config, files };
}
const reached = { external_addresses: ["/ip4/192.0.2.1/tcp/4001"] };

const operator = await prober("operator", network.pki);
const domains = [{ name: "test.hypha", trust_pem: operator.files.trustPath }];
const member = await partner.node("partner-01", { san: ["URI:spiffe://partner.example/gateway/partner-01"] });
const allied = await prober("allied", partner, { trust_domains: domains }, member);
const alone = await prober("alone", partner, {}, member);
const intruder = await prober("intruder", stranger, { trust_pem: operator.files.trustPath });
const broken = await prober("broken", network.pki);
rmSync(broken.files.keyPath);

const test = suite("probe");
test.after(() => network.stop());

async function ask(
  { config }: { readonly config: string },
  target: string,
): Promise<ProbeReport & { readonly exit: number | null }> {
  const { code, stdout, stderr } = await runProgramOnce("gateway", [
    "probe",
    "-c",
    config,
    target,
    ...patient,
    "--json",
  ]);
  assert.equal([stderr, stdout.split("\n").length], ["", 2], "one object, and nothing else");
  return { exit: code, ...JSON.parse(stdout) as ProbeReport };
}

const patient = ["--timeout", "15000"];
const keys = ["address", "cell", "code", "hint", "latencyMs", "name", "ok", "peer", "reason", "role"];

test("finds nodes healthy: of another trust domain, and through a gateway's relay", async () => {
  const circuit = `${address}/p2p-circuit/p2p/${hiddenPeer}`;
  const [direct, ofDomain, relayed] = await Promise.all([
    ask(operator, address),
    ask(allied, address),
    ask(operator, circuit),
  ]);
  for (
    const [report, name, role, peer, target] of [
      [direct, "gateway-01", "gateway", gatewayPeer, address],
      [ofDomain, "gateway-01", "gateway", gatewayPeer, address],
      [relayed, "data-01", "data", hiddenPeer, circuit],
    ] as const
  ) {
    const { latencyMs, ...rest } = report;
    const none = { cell: null, code: null, reason: null, hint: null };
    assert.equal(rest, { exit: 0, ok: true, address: target, peer, name, role, ...none });
    assert.ok(typeof latencyMs === "number" && latencyMs >= 0 && latencyMs < 15_000);
  }
});

test("says why not, whom it refused, and where at the other end to look", async () => {
  const nobody = `/ip4/127.0.0.1/tcp/${await freePort()}`;
  const [unknown, hungUp, unreachable, absent] = await Promise.all([
    ask(alone, address),
    ask(intruder, address),
    ask(operator, nobody),
    ask(operator, `${address}/p2p-circuit/p2p/12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz`),
  ]);
  for (const report of [unknown, hungUp, unreachable, absent]) {
    const { exit, ...rest } = report;
    assert.equal([exit, rest.ok, Object.keys(rest).toSorted()], [1, false, keys]);
    assert.not.match(rest.hint ?? "", /probe -c/, "the probe was just run");
  }
  assert.equal([unknown.code, unknown.name, unknown.peer], ["unknown-issuer", "gateway-01", gatewayPeer]);
  assert.is(hungUp.code, "hung-up");
  assert.match(hungUp.hint ?? "", /log .*peer\.refused .*intruder/);
  const refused = await gateway.said("peer.refused", ({ name }) => name === "intruder");
  assert.ok(refused["code"] !== undefined, "the reason stands there");
  assert.is(unreachable.code, "unreachable");
  assert.match(unreachable.hint ?? "", /node\.listening/);
  assert.ok(absent.code !== null);
});

test("a wrong command line is a usage error, and files of its own that do not load are said; both as an object too", async () => {
  const [usage, noPeer, files] = await Promise.all([
    ask(operator, "127.0.0.1:4001"),
    ask(operator, `${address}/p2p-circuit`),
    ask(broken, address),
  ]);
  assert.equal([usage.exit, usage.code], [2, "usage"]);
  assert.equal([noPeer.exit, noPeer.code], [2, "usage"]);
  assert.match(noPeer.reason ?? "", /no node behind it; append \/p2p\//);
  assert.equal([files.exit, files.code], [1, "configuration"]);
  assert.match(files.reason ?? "", /Cannot load .*broken-key\.pem/);
});

test("without --json, one line on standard output where it is healthy, one on standard error where not", async () => {
  const [healthy, refused] = await Promise.all([
    runProgramOnce("gateway", ["probe", "-c", operator.config, address, ...patient]),
    runProgramOnce("gateway", ["probe", "-c", intruder.config, address, ...patient]),
  ]);
  assert.equal(healthy, { code: 0, signal: null, stdout: `${address} is healthy (${gatewayPeer})\n`, stderr: "" });
  assert.equal([refused.code, refused.stdout], [1, ""]);
  assert.match(refused.stderr, /^hypha-gateway: Cannot find \S+ healthy: hung-up: .*peer\.refused.*\n$/);
});

test.run();
