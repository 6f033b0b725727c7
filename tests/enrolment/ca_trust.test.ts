/** What a node takes of the CA certificates that a CA offers. */
import { createHash } from "node:crypto";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { chainOf, pinnedRoot, refreshTrust } from "../../actors/enrolment/ca_trust.ts";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { type Issued, issueIntermediate, issueNode, issueRoot } from "../../pki/issue/mod.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import { makeTestPki } from "../support/pki.ts";

const test = suite("trust from a CA");
const at = new Date();
const day = 86_400_000;
const period = { notBefore: new Date(+at - day), notAfter: new Date(+at + 100 * day) };
const ended = { notBefore: new Date(+at - 3 * day), notAfter: new Date(+at - day) };
const read = ({ der }: Pick<Issued, "der">): Certificate => Result.getOrThrow(parseCertificate(Uint8Array.from(der)));

const root = await issueRoot({ commonName: "Root", ...period });
const middle = await issueIntermediate({ commonName: "CA", issuer: root, ...period });
const next = await issueIntermediate({ commonName: "CA 2", issuer: root, ...period });
const deep = await issueIntermediate({ commonName: "Deep", issuer: middle, ...period });
const old = await issueIntermediate({ commonName: "Old", issuer: root, ...ended });
const stranger = await issueRoot({ commonName: "Root", ...period });
const strange = await issueIntermediate({ commonName: "CA 3", issuer: stranger, ...period });
const leaf = await issueNode({ commonName: "worker-01", issuer: middle, ...period });
/** The stranger's key, certified by the root: it is the new root. */
const newWithOld = await issueIntermediate({ commonName: "Root", issuer: root, keyPem: stranger.keyPem, ...period });

const hashOf = (certificate: Certificate) => createHash("sha256").update(certificate.publicKey.spki).digest("hex");
const pinned = (offered: readonly Issued[], of: Issued) =>
  Result.match(pinnedRoot(offered.map(read), { anchor: hashOf(read(of)), url: "https://ca", at }), {
    onSuccess: (found) => found.fingerprint,
    onFailure: ({ code }) => code,
  });

test("the pinned root is the one with the token's hash, whatever is offered with it", () => {
  assert.is(pinned([middle, stranger, root], root), read(root).fingerprint);
  assert.is(pinned([middle, stranger], root), "ca-foreign");
  assert.is(pinned([], root), "ca-foreign");
  assert.is(pinned([middle], middle), "ca-foreign", "an intermediate is no root");
});

test("a pinned root that has ended is refused", async () => {
  const gone = await issueRoot({ commonName: "Root", ...ended });
  assert.is(pinned([gone], gone), "ca-foreign");
});

test("bug: certificates of the pinned key were verified one and all, also the same one again", async () => {
  const gone = await Promise.all(
    Array.from({ length: 20 }, () => issueRoot({ commonName: "Root", keyPem: root.keyPem, ...ended })),
  );
  let verified = 0;
  const counted = (each: Issued): Certificate => {
    const certificate = read(each);
    const { signature } = certificate;
    return Object.defineProperty({ ...certificate }, "signature", { get: () => (verified += 1, signature) });
  };
  const found = (offered: readonly Issued[]) =>
    Result.isSuccess(pinnedRoot(offered.map(counted), { anchor: hashOf(read(root)), url: "https://ca", at }));
  assert.ok(found([...gone, root]), "the one that is valid is tried first");
  assert.not(found(gone));
  assert.ok(verified <= 16, `${verified} signatures`);
  verified = 0;
  assert.ok(found(Array(20).fill(root)));
  assert.is(verified, 1);
});

const refreshed = (present: readonly Issued[], offered: readonly Issued[]) =>
  refreshTrust(present.map(read), offered.map(read), { at }).map(({ fingerprint }) => fingerprint);
const prints = (...made: readonly Issued[]) => made.map((each) => read(each).fingerprint);

const refreshes: [name: string, present: Issued[], offered: Issued[], expected: Issued[]][] = [
  ["the same stays as it is", [root, middle], [root, middle], [root, middle]],
  ["a new intermediate of the root is added", [root, middle], [root, next, middle], [root, middle, next]],
  ["one that is no longer offered stays", [root, middle], [root], [root, middle]],
  ["one that has ended goes", [root, old, middle], [root, middle], [root, middle]],
  ["one that has ended is not added", [root], [old], [root]],
  ["another root is dropped", [root], [stranger], [root]],
  ["and what it signed", [root], [stranger, strange], [root]],
  ["a CA below an intermediate is dropped: only the root speaks for CAs", [root, middle], [deep], [root, middle]],
  ["a leaf is dropped", [root, middle], [leaf], [root, middle]],
  ["a new root that the old one vouches for is added", [root], [newWithOld, stranger], [root, stranger]],
  ["without the new root, its key is an intermediate's", [root], [newWithOld], [root, newWithOld]],
  ["without the old root's word it is dropped", [middle], [newWithOld, stranger], [middle]],
  ["a bundle in which all has ended is left alone", [old], [root], [old]],
];
for (const [name, present, offered, expected] of refreshes) {
  test(name, () => assert.equal(refreshed(present, offered), prints(...expected)));
}

test("what the new root signed comes with the renewal after", () => {
  const first = refreshTrust([read(root)], [newWithOld, stranger, strange].map(read), { at });
  assert.not(first.some(({ fingerprint }) => fingerprint === read(strange).fingerprint));
  const second = refreshTrust(first, [newWithOld, stranger, strange].map(read), { at });
  assert.ok(second.some(({ fingerprint }) => fingerprint === read(strange).fingerprint));
});

test("an intermediate that a list of the node revokes goes, and is not added again", async () => {
  const pki = await makeTestPki();
  const crlsPem = await pki.crls({ revokedByRoot: [pki.intermediate] });
  const trustPem = pki.root.certPem + pki.intermediate.certPem;
  const made = makeTrustSnapshot({ trustPem, crlsPem, policy: defaultPolicy, generation: 1, at });
  const { snapshot } = Result.getOrThrow(made);
  const both = [read(pki.root), read(pki.intermediate)];
  assert.equal(refreshTrust(both, both, { at, snapshot }).map(({ subject }) => subject.commonName), ["Test Root CA"]);
});

test("a root that may have no CAs below adds none: what it signs would not be bound by it", async () => {
  const bound = await issueRoot({ commonName: "Bound", ...period, pathLength: 0 });
  const below = await issueIntermediate({ commonName: "Below", issuer: bound, ...period });
  assert.equal(refreshed([bound], [below]), prints(bound));
});

test("a node's chain is its leaf and the CAs between it and the root", () => {
  assert.equal(
    chainOf(read(leaf), [stranger, root, next, middle].map(read)).map(({ fingerprint }) => fingerprint),
    prints(leaf, middle),
  );
  assert.equal(chainOf(read(leaf), [root].map(read)).map(({ fingerprint }) => fingerprint), prints(leaf));
});

test.run();
