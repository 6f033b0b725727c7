/** Trust domains kept apart at a running transport: what a partner's CA, and our own, cannot do to the other. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Issued, issueIntermediate } from "../../pki/issue/mod.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustMade } from "../../pki/trust.ts";
import { makeTestPki, type TestNode } from "../support/pki.ts";
import { of, startTransport, type TestTransport } from "../support/transports.ts";

const test = suite("trust domains at a transport");
const [pki, partner, friend] = [
  await makeTestPki(),
  await makeTestPki({ organization: "Partner" }),
  await makeTestPki({ organization: "Friend" }),
];
const dayMs = 24 * 60 * 60 * 1_000;
const [notBefore, notAfter] = [new Date(Date.now() - dayMs), new Date(Date.now() + 30 * dayMs)];
/** Our intermediate as another organisation's root certified it; and a partner's CA with its name, and another key. */
const named = { commonName: "Test Intermediate CA", organization: "Test", notBefore, notAfter };
const cross = await issueIntermediate({ ...named, issuer: friend.root, keyPem: pki.intermediate.keyPem });
const namesake = await issueIntermediate({ ...named, issuer: partner.root });

const partnerLists = async () => await partner.crl(partner.root) + await partner.crl(namesake, { number: 10n ** 40n });

let generation = 0;
async function trust(revoked: readonly TestNode[], before?: TrustMade): Promise<TrustMade> {
  const crlsPem = await pki.crls({ number: BigInt(++generation), revoked });
  const domains = [
    { name: "partner.example", trust: partner.trustPem, crlsPem: await partnerLists() },
    { name: "friend.example", trust: friend.trustPem },
  ];
  const seen = before === undefined ? {} : { crlMarks: before.crlMarks, seenLists: before.lists };
  const given = { trustPem: pki.trustPem, crlsPem, domains, policy: defaultPolicy, generation, at: new Date() };
  return Result.getOrThrow(makeTrustSnapshot({ ...given, ...seen }));
}

const through = (node: TestNode, issuer: Issued): TestNode => ({
  ...node,
  chainPem: node.certPem + issuer.certPem,
  chain: [node.der, issuer.der],
});

/** Dials, and gives the name under which it was let in, or the code with which it was refused. */
async function meet(to: TestTransport, node: TestNode): Promise<string> {
  const seen = to.facts.length;
  const from = await startTransport({ pki, name: node.name, node });
  await from.ask({ type: "dial", id: "dial", target: { address: to.addresses[0] as string } });
  const met = await to.fact((fact) =>
    to.facts.indexOf(fact) >= seen && (of("peer.established")(fact) || of("peer.refused")(fact))
  );
  await from.stop();
  if (met.type === "peer.refused") return met.refusal.code;
  return `${met.identity.role ?? "no role"} of ${met.identity.domain ?? "home"}`;
}

test("names, cross-certificates and namesakes: each CA speaks for its own domain, and revokes what it issued", async () => {
  const [revoked, leaf] = [await pki.node("revoked", { san: [] }), await pki.node("leaf", { san: [] })];
  const first = await trust([revoked]);
  const a = await startTransport({ pki, name: "a", snapshot: first.snapshot });
  const uri = "URI:spiffe://partner.example/scheduler/s";
  assert.is(await meet(a, await pki.node("claims", { san: [uri] })), "name-constraint");
  assert.is(await meet(a, await partner.node("honest", { san: [uri] })), "revocation-unknown");
  assert.is(
    await meet(a, through(await pki.node("theirs", { san: [uri], issuer: namesake }), namesake)),
    "scheduler of partner.example",
  );
  assert.is(await meet(a, revoked), "certificate-revoked");
  assert.is(await meet(a, through(revoked, cross)), "certificate-revoked");
  assert.is(await meet(a, through(leaf, cross)), "no role of friend.example");
  // The partner's list with our intermediate's name has been verified, and marked: ours counts on.
  const b = await startTransport({ pki, name: "leaf", node: leaf });
  await b.ask({ type: "dial", id: "dial", target: { address: a.addresses[0] as string } });
  await a.fact(of("peer.established", ({ identity }) => identity.name === "leaf" && identity.domain === undefined));
  a.send({ type: "trust.changed", snapshot: (await trust([revoked, leaf], first)).snapshot });
  const { reason } = await a.fact(
    of("peer.closed", ({ identity }) => identity.name === "leaf" && identity.domain === undefined),
  );
  assert.is("refusal" in reason && reason.refusal.code, "certificate-revoked");
  await Promise.all([a.stop(), b.stop()]);
});

test.run();
