/**
 * Two networks that trust each other by the bundles that their CAs serve, without a copied file.
 *
 * @module
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bundlePath } from "../../actors/files/state_directory.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { markKey } from "../../pki/crl_marks.ts";
import { type TestCaPort, testCaPort } from "../support/ca_port.ts";
import { makeNodeNetwork, type NodeNetwork, type RunningNode } from "../support/node_network.ts";
import { makeTestPki } from "../support/pki.ts";

const test = suite("partners");

interface Home {
  readonly domain: string;
  readonly ca: TestCaPort;
  readonly network: NodeNetwork;
}

/** A CA that serves its bundle, and a network of nodes that it issued. */
async function makeHome(domain: string): Promise<Home> {
  const ca = await testCaPort({ domain });
  const pki = await makeTestPki({ organization: domain, domain, cas: ca });
  const network = await makeNodeNetwork({
    ...pki,
    write: async (dir, node, crlsPem) => {
      const files = await pki.write(dir, node, crlsPem);
      // Lists of an issuer that only peers send do not travel.
      writeFileSync(files.trustPath, ca.intermediate.certPem + ca.root.certPem);
      return files;
    },
  });
  return { domain, ca, network };
}

const pinOf = ({ ca }: Home) => markKey(Result.getOrThrow(parseCertificate(ca.root.der)));
const trusting = (home: Home, partner: Home, name: string, pin = pinOf(partner)) => ({
  trustDomain: home.domain,
  trustDomains: [{
    name: partner.domain,
    trust: { url: `${partner.ca.url}/bundle.json`, pin, profile: "https_ca" as const },
    crlsPem: undefined,
    roles: undefined,
  }],
  stateDir: join(home.network.folder, name, "state"),
});

const [acme, partner] = [await makeHome("acme.example"), await makeHome("partner.example")] as const;
const startGateway = (name: string, pin?: string) =>
  acme.network.start(name, "gateway", trusting(acme, partner, name, pin));
async function startData(name: string, gateway: RunningNode): Promise<RunningNode> {
  const { addresses } = await gateway.said("node.listening");
  const address = (addresses as readonly string[]).find((each) => each.includes("127.0.0.1")) ?? "";
  const own = { gatewayAddresses: [address], datasetPath: partner.network.slices, requireGrant: false };
  return await partner.network.start(name, "data", { ...trusting(partner, acme, name), ...own });
}
const meets = (node: RunningNode, name: string) => node.said("peer.established", (fields) => fields["name"] === name);

let gateway: RunningNode;
let first: RunningNode;

test("nodes of two networks connect as soon as each has fetched the other's bundle", async () => {
  gateway = await startGateway("gateway");
  first = await startData("data-1", gateway);
  await gateway.said("bundle.taken", ({ domain }) => domain === "partner.example");
  await first.said("bundle.taken", ({ domain }) => domain === "acme.example");
  await meets(gateway, "data-1");
  await first.said("node.ready");
});

test("a revocation by the partner's CA travels over the border", async () => {
  const second = await startData("data-2", gateway);
  await meets(gateway, "data-2");
  const list = await partner.network.pki.crls({ number: 2n, revoked: [second.certificate] });
  writeFileSync(first.files.crlsPath, list);
  await gateway.said("crl.taken", ({ domain }) => domain === "partner.example");
  await gateway.said("peer.closed", ({ name }) => name === "data-2");
  await second.stop();
});

test("a node that starts while the partner's CA is away goes on with the bundle that it kept", async () => {
  await first.stop();
  await gateway.stop();
  await partner.ca.stop();
  gateway = await startGateway("gateway");
  await gateway.said("bundle.refused", ({ code }) => code === "bundle-unreachable");
  first = await startData("data-1", gateway);
  await meets(gateway, "data-1");
});

test("with another pin, and without a bundle, the partner is refused and the node runs", async () => {
  await gateway.stop();
  await first.stop();
  const kept = bundlePath(join(acme.network.folder, "gateway", "state"), "partner.example");
  const text = readFileSync(kept, "utf8");
  for (const pin of ["0".repeat(64), undefined]) {
    if (pin === undefined) rmSync(kept);
    const alone = await startGateway("gateway", pin);
    const warned = await alone.said("trust.warning", ({ code }) => code === "no-anchors");
    assert.is(warned["subject"], "partner.example");
    await alone.said("node.ready");
    const guest = await startData("data-1", alone);
    // The CAs of both networks have the same name: the signature tells them apart.
    assert.is((await alone.said("peer.refused"))["code"], "bad-signature");
    assert.not.ok(alone.lines.some(({ event }) => event === "peer.established"));
    await guest.stop();
    await alone.stop();
    if (pin !== undefined) assert.is(readFileSync(kept, "utf8"), text, "what was fetched stays there");
  }
});

test.after(async () => {
  await acme.network.stop();
  await partner.network.stop();
  await acme.ca.stop();
});
test.run();
