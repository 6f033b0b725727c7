/**
 * Every verdict of the gate on a chain, by certificates of its own, through the port that the transport uses.
 *
 * @module
 */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { SimulatedClock } from "xstate";
import { makeGateFactory } from "../../actors/gate/gate.ts";
import { derNull } from "../../pki/issue/der_writer.ts";
import { extendedKeyUsage, type Extension, keyUsage, nameConstraints } from "../../pki/issue/extensions.ts";
import { type RefusalCode, TooManyConnections } from "../../pki/refusal.ts";
import { defaultPolicy, makeTrustSnapshot, type Policy } from "../../pki/trust.ts";
import type { GateEvent, GateInput } from "../../transport/port.ts";
import { at, forge, type Forged, forgeListPem, later } from "../support/forge.ts";
import { gateInput } from "../support/gates.ts";

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root, serial: 0x77 });
const leaf = forge("leaf", { issuer: middle, serial: 0x55, san: ["URI:spiffe://acme/worker/leaf"] });
const stranger = forge("stranger", { ca: true });
const critical = (oid: string): Extension => ({ oid, critical: true, value: derNull });
const bothLists = forgeListPem(root) + forgeListPem(middle);

interface Row {
  readonly name: string;
  readonly code: RefusalCode | "opening";
  readonly chain?: readonly (Forged | Uint8Array)[];
  readonly crlsPem?: string;
  readonly policy?: Partial<Policy>;
  readonly version?: string;
  readonly now?: Date;
  readonly input?: Partial<GateInput>;
}

function evaluate(row: Row) {
  const { chain = [leaf, middle], crlsPem, policy, version = "TLSv1.3", now = at, input } = row;
  const made = makeTrustSnapshot({
    trustPem: root.pem,
    crlsPem,
    policy: { ...defaultPolicy, ...policy },
    generation: 1,
    at,
  });
  const { snapshot } = Result.getOrThrow(made);
  const ports = { now: () => now.getTime(), report: () => {} };
  const gate = makeGateFactory({ ports, clock: new SimulatedClock() })(gateInput(snapshot, input));
  const said: GateEvent[] = [];
  gate.listen((each) => said.push(each));
  gate.send({ type: "connection.securing" });
  const ders = chain.map((each) => each instanceof Uint8Array ? each : each.der);
  gate.send({ type: "tls.secured", version, chain: ders });
  return { gate, said };
}

const child = (options: Parameters<typeof forge>[1]) => forge("node", { issuer: root, ...options });
const pathZero = forge("zero", { ca: 0, issuer: root });
const belowZero = forge("below", { ca: true, issuer: pathZero });
const notCa = forge("nobody", { issuer: root, add: [keyUsage(["digitalSignature", "keyCertSign"])] });
const bound = forge("bound", {
  ca: true,
  issuer: root,
  add: [nameConstraints([{ tag: 2, content: new TextEncoder().encode("acme.example") }])],
});

const rows: readonly Row[] = [
  { name: "leaf and intermediate under the root", code: "opening" },
  { name: "the same, with lists that revoke nobody", code: "opening", crlsPem: bothLists },
  { name: "TLS 1.2", code: "tls-version", version: "TLSv1.2" },
  { name: "no TLS version at all", code: "tls-version", version: "" },
  { name: "no certificate", code: "no-certificate", chain: [] },
  { name: "bytes that are no certificate", code: "malformed-certificate", chain: [new Uint8Array([1, 2, 3])] },
  { name: "a self-signed certificate", code: "self-signed", chain: [forge("self")] },
  { name: "a leaf of an unknown CA", code: "unknown-issuer", chain: [forge("x", { issuer: stranger }), stranger] },
  { name: "a namesake of the root", code: "bad-signature", chain: [child({ signer: stranger })] },
  { name: "a P-256 key", code: "unsupported-key-algorithm", chain: [child({ algorithm: "p256" })] },
  {
    name: "a CA beyond the path length",
    code: "path-too-long",
    chain: [
      forge("x", { issuer: belowZero }),
      belowZero,
      pathZero,
    ],
  },
  { name: "an issuer that is no CA", code: "not-a-ca", chain: [forge("x", { issuer: notCa }), notCa] },
  { name: "a leaf that may not sign", code: "key-usage", chain: [child({ add: [keyUsage(["keyAgreement"])] })] },
  {
    name: "a leaf for servers only",
    code: "extended-key-usage",
    chain: [
      child({ add: [extendedKeyUsage(["1.3.6.1.5.5.7.3.1"])] }),
    ],
  },
  {
    name: "a name outside the CA's",
    code: "name-constraint",
    chain: [
      forge("x", { issuer: bound, san: ["DNS:other.example"] }),
      bound,
    ],
  },
  {
    name: "an unknown critical extension",
    code: "unknown-critical-extension",
    chain: [
      child({ add: [critical("1.2.3")] }),
    ],
  },
  { name: "eleven certificates", code: "budget-exceeded", chain: [leaf, ...Array.from({ length: 10 }, () => middle)] },
  { name: "a leaf not valid yet", code: "certificate-not-yet-valid", chain: [child({ notBefore: later(1) })] },
  { name: "a leaf at its notAfter", code: "opening", chain: [child({ notAfter: at })] },
  {
    name: "a leaf a millisecond later",
    code: "certificate-expired",
    chain: [child({ notAfter: at })],
    now: new Date(
      at.getTime() + 1,
    ),
  },
  {
    name: "a revoked leaf",
    code: "certificate-revoked",
    crlsPem: forgeListPem(root) +
      forgeListPem(middle, { revoked: ["55"] }),
  },
  {
    name: "a revoked intermediate",
    code: "certificate-revoked",
    crlsPem: forgeListPem(root, { revoked: ["77"] }) +
      forgeListPem(middle),
  },
  { name: "an issuer without a list", code: "revocation-unknown", crlsPem: forgeListPem(root) },
  { name: "a list past its grace", code: "crl-expired", crlsPem: bothLists, now: later(32) },
  { name: "a list inside its grace", code: "opening", crlsPem: bothLists, now: later(30.5) },
  {
    name: "a list of tomorrow",
    code: "crl-not-yet-valid",
    crlsPem: forgeListPem(root) +
      forgeListPem(middle, { thisUpdate: later(1) }),
  },
  {
    name: "a forged list of the intermediate",
    code: "crl-signature",
    crlsPem: forgeListPem(root) +
      forgeListPem(middle, { signer: stranger }),
  },
  { name: "another peer than was dialled", code: "peer-id-mismatch", input: { expectedPeer: "12D3KooWother" } },
  { name: "a role that may not connect", code: "role-not-allowed", policy: { allowedRoles: ["gateway"] } },
  { name: "no role where one is required", code: "role-not-allowed", chain: [child({})], policy: { roles: "require" } },
  { name: "a clock that says nothing", code: "internal", now: new Date(NaN) },
];

const test = suite("the gate's verdicts");

for (const row of rows) {
  test(`evaluates ${row.name}: ${row.code}`, () => {
    const { gate, said } = evaluate(row);
    const verdict = gate.phase === "refused" ? gate.refusal?.code : gate.phase;
    assert.is(verdict, row.code, gate.refusal?.message);
    assert.equal(said.map(({ type }) => type), [row.code === "opening" ? "gate.verified" : "gate.refused"]);
    if (row.code !== "opening") assert.ok((gate.refusal?.hint.length ?? 0) > 10);
  });
}

test("refuses what admission refused, before anything else", () => {
  const admission = Result.fail(new TooManyConnections({ limit: "pending handshakes", max: 10 }));
  const { gate } = evaluate({ name: "", code: "internal", input: { admission } });
  assert.is(gate.phase, "refused");
  assert.is(gate.refusal?.code, "too-many-connections");
});

test("has the id of its input", () => {
  assert.is(evaluate({ name: "known", code: "opening", input: { id: "gate-7" } }).gate.id, "gate-7");
});

test("knows who it let in, by name, PeerID, role and serial", () => {
  const { gate } = evaluate({ name: "", code: "opening" });
  const { name, role, domain, serial, peer = "" } = gate.identity ?? {};
  assert.equal([name, role, domain, serial], ["leaf", "worker", "acme", "55"]);
  assert.match(peer, /^12D3KooW/);
  assert.is(evaluate({ name: "", code: "opening", input: { expectedPeer: peer } }).gate.phase, "opening");
});

test("all gates of a factory remember one chain together, whose leaf is read once", () => {
  const made = makeTrustSnapshot({ trustPem: root.pem, crlsPem: undefined, policy: defaultPolicy, generation: 1, at });
  const { snapshot } = Result.getOrThrow(made);
  const ports = { now: () => at.getTime(), report: () => {} };
  const identities = [1, 2].map(() => makeGateFactory({ ports, clock: new SimulatedClock() })).flatMap((makeGate) =>
    [1, 2].map(() => {
      const gate = makeGate(gateInput(snapshot));
      gate.send({ type: "connection.securing" });
      gate.send({ type: "tls.secured", version: "TLSv1.3", chain: [leaf.der, middle.der] });
      return gate.identity;
    })
  );
  assert.is(identities[0]?.name, "leaf");
  assert.ok(identities[0] === identities[1] && identities[2] === identities[3]);
  assert.ok(identities[0] !== identities[2]);
});

test("gives the same verdict in both directions", () => {
  for (const direction of ["inbound", "outbound"] as const) {
    assert.is(evaluate({ name: "", code: "opening", input: { direction } }).gate.phase, "opening");
    assert.is(evaluate({ name: "", code: "internal", input: { direction }, chain: [] }).gate.phase, "refused");
  }
});

test.run();
