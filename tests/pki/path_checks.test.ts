/**
 * The checks by themselves: what each of them decides, without the others that would refuse the same chain too.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Certificate, type KeyAlgorithm, parseCertificate } from "../../pki/certificate.ts";
import { chainBytesMax, chainsMax, linksMax } from "../../pki/verification_cache.ts";
import { refuseKey, rsaBitsMax, rsaBitsMin } from "../../pki/checks/algorithm.ts";
import { linksTriedMax, pathLengthMax, pathsMax, signatureChecksMax } from "../../pki/checks/find_paths.ts";
import { nameComparisonsMax } from "../../pki/checks/name_constraints.ts";
import { refuseBare } from "../../pki/checks/profile.ts";
import { expiryOf } from "../../pki/checks/validity.ts";
import { chainCertificatesMax, chainOctetsMax } from "../../pki/checks/well_formed.ts";
import { crlBytesMax } from "../../pki/crl.ts";
import {
  checkAlgorithm,
  checkIdentity,
  checkRole,
  checkValidity,
  checkWellFormed,
  type Path,
  type PathsFound,
  type PeerIdentity,
} from "../../pki/path.ts";
import { alternativeNamesMax } from "../../pki/general_name.ts";
import { entrySerialOctetsMax } from "../../pki/serial_index.ts";
import { anchorsMax, crlsMax, defaultPolicy, domainsMax, type Policy } from "../../pki/trust.ts";
import { at, forge, type Forged, later } from "../support/forge.ts";

const test = suite("checks");

const root = forge("root", { ca: true });
const parsed = ({ der }: Forged): Certificate => Result.getOrThrow(parseCertificate(der));
const wellFormed = (...chain: Forged[]) => Result.getOrThrow(checkWellFormed(chain.map(({ der }) => der)));
const codeOf = (outcome: Result.Result<unknown, { readonly code: string }>) =>
  Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;

test("an RSA key has 2048 to 8192 bits, in whole octets", () => {
  const withBits = (bits: number) =>
    refuseKey(
      { ...parsed(root), publicKey: { algorithm: "rsa", label: "RSA", bits, spki: new Uint8Array() } } as never,
      [
        "rsa",
      ],
    )?.code;
  assert.equal([rsaBitsMin, rsaBitsMax], [2_048, 8_192]);
  for (const bits of [2_048, 2_056, 8_192]) assert.is(withBits(bits), undefined, String(bits));
  for (const bits of [0, 1_024, 2_040, 2_047, 2_049, 2_052, 8_191, 8_193, 8_200, 16_384]) {
    assert.is(withBits(bits), "unsupported-key-algorithm", String(bits));
  }
});

/** Limits are policy: who changes one changes what a peer can cost or get away with, and says so here. */
const limits: [name: string, limit: number, value: number][] = [
  ["certificates of a chain", chainCertificatesMax, 10],
  ["octets of a chain", chainOctetsMax(chainCertificatesMax), 30_720],
  ["alternative names of a certificate", alternativeNamesMax, 128],
  ["certificates of a path", pathLengthMax, 8],
  ["signatures of a search", signatureChecksMax, 100],
  ["links that a search tries", linksTriedMax, 500],
  ["paths of a search", pathsMax, 16],
  ["comparisons of names in a search", nameComparisonsMax, 250_000],
  ["chains remembered", chainsMax, 1_024],
  ["octets of a chain that is remembered", chainBytesMax, 16_384],
  ["links between CAs that are remembered", linksMax, 256],
  ["bytes of a revocation list", crlBytesMax, 128 * 1024 * 1024],
  ["octets of an entry's serial", entrySerialOctetsMax, 20],
  ["lists of a file", crlsMax, 1_000],
  ["CA certificates of a bundle", anchorsMax, 1_000],
  ["trust domains", domainsMax, 100],
  ["grace of a list, in milliseconds", defaultPolicy.crlGraceMs, 86_400_000],
];
for (const [name, limit, value] of limits) test(`the limit is ${value}: ${name}`, () => assert.is(limit, value));

test("an unknown key is refused whatever the policy allows", () => {
  const unknown = parsed(forge("leaf", { algorithm: "ed448" }));
  assert.is(unknown.publicKey.algorithm, "unknown");
  const allowed = ["unknown", "ed25519", "rsa"] as unknown as readonly KeyAlgorithm[];
  assert.is(refuseKey(unknown, allowed)?.code, "unsupported-key-algorithm");
});

test("checkAlgorithm() evaluates the leaf's key and its signature, each by itself", () => {
  const policy = (more: Partial<Policy>): Policy => ({ ...defaultPolicy, ...more });
  const p256 = forge("leaf", { issuer: root, algorithm: "p256" });
  assert.is(codeOf(checkAlgorithm(wellFormed(p256), defaultPolicy)), "unsupported-key-algorithm");
  assert.is(codeOf(checkAlgorithm(wellFormed(p256), policy({ leafAlgorithms: ["ecdsa-p256"] }))), "accepted");
  const oddlySigned = forge("leaf", { issuer: root, signer: forge("odd", { algorithm: "ed448" }) });
  assert.is(codeOf(checkAlgorithm(wellFormed(oddlySigned), defaultPolicy)), "unsupported-key-algorithm");
});

test("checkIdentity() refuses a key of which no PeerID is made", () => {
  const outcome = checkIdentity(wellFormed(forge("leaf", { issuer: root, algorithm: "ed448" })));
  assert.is(codeOf(outcome), "unsupported-key-algorithm");
});

test("checkIdentity() names who has no common name by the whole subject", () => {
  const organization = (tbs: Uint8Array) => {
    const bytes = Buffer.from(tbs);
    bytes[bytes.lastIndexOf(Buffer.from([0x55, 0x04, 0x03])) + 2] = 0x0a;
    return Uint8Array.from(bytes);
  };
  const { name, subject } = Result.getOrThrow(
    checkIdentity(wellFormed(forge("leaf", { issuer: root, tbs: organization }))),
  );
  assert.equal([name, subject], ["O=leaf", "O=leaf"]);
});

test("checkIdentity() tells a role or what is claimed in place of one, never both", () => {
  const claims = (...san: string[]) => {
    const { role, roleClaim } = Result.getOrThrow(checkIdentity(wellFormed(forge("leaf", { issuer: root, san }))));
    return [role, roleClaim];
  };
  assert.equal(claims(), [undefined, undefined]);
  assert.equal(claims("URI:spiffe://acme/worker/leaf"), ["worker", undefined]);
  assert.equal(claims("URI:spiffe://acme/root/leaf"), [undefined, "root"]);
  assert.equal(claims("URI:https://acme/worker"), [undefined, "https://acme/worker"]);
});

test("checkRole() lets in whom the policy allows, and says whom it refused", () => {
  const evaluate = (identity: Partial<PeerIdentity>, policy: Partial<Policy> = {}) => {
    const outcome = checkRole(identity as PeerIdentity, { ...defaultPolicy, ...policy });
    return Result.isSuccess(outcome) ? "accepted" : outcome.failure.role;
  };
  assert.is(evaluate({}), "accepted");
  assert.is(evaluate({}, { roles: "require" }), "a node without a role");
  assert.is(evaluate({ role: "worker" }), "accepted");
  assert.is(evaluate({ role: "worker" }, { allowedRoles: ["gateway"] }), "worker");
  assert.is(evaluate({ roleClaim: "root" }), "root");
  assert.is(evaluate({ roleClaim: "root" }, { roles: "ignore" }), "accepted");
  assert.is(evaluate({ role: "worker" }, { allowedRoles: ["gateway"], roles: "ignore" }), "accepted");
});

const found = (...paths: Path[]) => ({ paths, signatureChecks: 0 }) as unknown as PathsFound;

test("checkValidity() gives the first path's refusal, and no domains where there are none", () => {
  const leaf = parsed(forge("leaf", { issuer: root }));
  const early = parsed(forge("early", { ca: true, notBefore: later(1) }));
  const late = parsed(forge("late", { ca: true, notAfter: later(-0.5) }));
  assert.is(codeOf(checkValidity(found([leaf, early], [leaf, late]), at)), "certificate-not-yet-valid");
  assert.is(codeOf(checkValidity(found([leaf, late], [leaf, early]), at)), "certificate-expired");
  const within = Result.getOrThrow(checkValidity(found([leaf, early], [leaf, parsed(root)]), at));
  assert.equal([within.paths.length, "domains" in within], [1, false]);
});

test("a path ends with the first of its certificates, wherever that stands", () => {
  const ending = (days: number) => parsed(forge("any", { notAfter: later(days) }));
  for (const days of [[1, 2, 3], [3, 1, 2], [3, 2, 1], [2, 2, 2]]) {
    assert.equal(expiryOf(days.map(ending) as unknown as Path), later(Math.min(...days)));
  }
});

test("refuseBare() says which certificate it is about", () => {
  const bare = { ...parsed(root), subjectKeyId: undefined, authorityKeyId: undefined };
  const index = (place: "leaf" | "intermediate" | "root") => refuseBare(bare, place, () => false)?.index;
  assert.equal([index("leaf"), index("intermediate"), index("root")], [0, 1, 1]);
  assert.is(refuseBare({ ...bare, subjectKeyId: "01" }, "root", () => true), undefined);
});

test.run();
