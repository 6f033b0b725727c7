/** The pair that a node holds, and what a new certificate has to be to take its place. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certificatesOf, snapshotOf } from "../../actors/enrolment/ca_trust.ts";
import type { HeldFiles } from "../../actors/enrolment/enrolment_store.ts";
import { checkIssued, type IssuedTerms, pairOf, spiffeOf } from "../../actors/enrolment/held_pair.ts";
import { defaultPolicy } from "../../pki/trust.ts";
import { makeTestPki, type TestNode } from "../support/pki.ts";

const test = suite("held pairs");
const pki = await makeTestPki();
const node = await pki.node("worker-01", { role: "worker" });
const other = await pki.node("worker-02", { role: "worker" });
const files: HeldFiles = {
  certPem: node.chainPem,
  keyPem: node.keyPem,
  trustPem: undefined,
  keyWrittenAt: 5,
  next: undefined,
};
const kept = (keyPem: string) => ({ next: { purpose: "renewal", keyPem } });

const pairs: [name: string, files: Partial<HeldFiles>, expected: string | undefined][] = [
  ["certificate and key", {}, "held"],
  ["a key of another certificate", { keyPem: other.keyPem }, undefined],
  ["the key of a request under way", { keyPem: other.keyPem, ...kept(node.keyPem) }, "torn"],
  ["that key alone", { keyPem: undefined, ...kept(node.keyPem) }, "torn"],
  ["its own key although another request is under way", kept(other.keyPem), "held"],
  ["no key", { keyPem: undefined }, undefined],
  ["no certificate", { certPem: undefined }, undefined],
  ["a torn certificate", { certPem: node.chainPem.slice(0, 200) }, undefined],
  ["a torn key", { keyPem: node.keyPem.slice(0, 60) }, undefined],
];
for (const [name, changed, expected] of pairs) {
  test(`${name}: ${expected ?? "no pair"}`, () => {
    const pair = pairOf({ ...files, ...changed });
    assert.is(pair && (pair.isTorn ? "torn" : "held"), expected);
    if (pair !== undefined) assert.is(pair.keyPem, node.keyPem);
  });
}

const trust = certificatesOf(pki.root.certPem + pki.intermediate.certPem);
const at = new Date();
const snapshot = Result.getOrThrow(snapshotOf(trust, { policy: defaultPolicy, at }));
const chain = (made: TestNode) => certificatesOf(made.chainPem);
const [leaf] = chain(node);
const terms: IssuedTerms = {
  spki: leaf!.publicKey.spki,
  keyPem: node.keyPem,
  domain: "test.hypha",
  role: "worker",
  snapshot,
  at,
};
const again = await pki.node("worker-01", { role: "worker", keyPem: node.keyPem });
const renamed = await pki.node("worker-09", { role: "worker", keyPem: node.keyPem });
const ended = await pki.node("worker-01", {
  ...{ role: "worker", keyPem: node.keyPem },
  ...{ notBefore: new Date(+at - 9e6), notAfter: new Date(+at - 1) },
});
const strangers = await makeTestPki({ organization: "Stranger" });
const strange = await strangers.node("worker-01", { role: "worker", keyPem: node.keyPem });
const roleless = await pki.node("worker-01", { keyPem: node.keyPem });

const issued: [name: string, made: TestNode, terms: Partial<IssuedTerms>, expected: string | undefined][] = [
  ["the first certificate", node, {}, undefined],
  ["a renewal of the same names", again, { former: leaf! }, undefined],
  ["a renewal of other names", renamed, { former: leaf! }, "own-certificate-refused"],
  ["another name where none is renewed", renamed, {}, undefined],
  ["another key", other, {}, "own-certificate-refused"],
  ["another role", node, { role: "data" }, "token-role"],
  ["another domain", node, { domain: "other.hypha" }, "own-certificate-refused"],
  ["no role", roleless, {}, "own-certificate-refused"],
  ["one that has ended", ended, {}, "own-certificate-refused"],
  ["one that the node's trust refuses", strange, {}, "own-certificate-refused"],
];
for (const [name, made, changed, expected] of issued) {
  test(`${name}: ${expected ?? "taken"}`, () => {
    assert.is(checkIssued(chain(made), { ...terms, ...changed })?.code, expected);
  });
}

test("one that a list of the node revokes is refused; without a list that is required it waits", async () => {
  const { makeTrustSnapshot } = await import("../../pki/trust.ts");
  const trustPem = pki.root.certPem + pki.intermediate.certPem;
  const withLists = (crlsPem: string) =>
    Result.getOrThrow(makeTrustSnapshot({ trustPem, crlsPem, policy: defaultPolicy, generation: 1, at })).snapshot;
  const revoked = withLists(await pki.crls({ revoked: [node] }));
  assert.is(checkIssued(chain(node), { ...terms, snapshot: revoked })?.code, "own-certificate-refused");
  const rootAlone = withLists(await pki.crl(pki.root));
  assert.is(checkIssued(chain(node), { ...terms, snapshot: rootAlone })?.code, "lists-missing");
  assert.is(checkIssued(chain(node), { ...terms, snapshot: withLists(await pki.crls()) }), undefined);
});

test("trust domain and role are those of the one URI name", () => {
  assert.equal(spiffeOf(leaf!), { domain: "test.hypha", role: "worker" });
  assert.is(spiffeOf(chain(roleless)[0]!), undefined);
});

test.run();
