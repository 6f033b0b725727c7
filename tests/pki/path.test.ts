import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { chainCertificatesMax } from "../../pki/checks/well_formed.ts";
import { pathLengthMax } from "../../pki/checks/find_paths.ts";
import {
  basicConstraints,
  extendedKeyUsage,
  type Extension,
  keyUsage,
  subjectKeyId,
} from "../../pki/issue/extensions.ts";
import { derNull } from "../../pki/issue/der_writer.ts";
import { checkWellFormed, findPaths, verifyPath } from "../../pki/path.ts";
import { formatPem } from "../../pki/pem.ts";
import type { Refusal } from "../../pki/refusal.ts";
import { defaultPolicy, makeTrustSnapshot, type Policy } from "../../pki/trust.ts";
import { at, forge, type Forged, later } from "../support/forge.ts";

const test = suite("verifyPath()");

interface Options {
  readonly policy?: Partial<Policy>;
  readonly at?: Date;
  readonly expectedPeer?: string;
}

/** Judges a chain by anchors: the code of the refusal, or the subjects of the path. */
function evaluate(chain: readonly Forged[], anchors: readonly Forged[], options: Options = {}): string {
  const outcome = verify(chain, anchors, options);
  if (Result.isFailure(outcome)) return outcome.failure.code;
  return outcome.success.path.map(({ subject }) => subject.commonName).join(" < ");
}

function verify(chain: readonly Forged[], anchors: readonly Forged[], options: Options = {}) {
  const policy = { ...defaultPolicy, ...options.policy };
  const trustPem = anchors.map(({ pem }) => pem).join("");
  const { snapshot } = Result.getOrThrow(makeTrustSnapshot({ trustPem, policy, generation: 1, at }));
  return verifyPath(chain.map(({ der }) => der), snapshot, {
    at: options.at ?? at,
    expectedPeer: options.expectedPeer,
  });
}

function refusalOf(chain: readonly Forged[], anchors: readonly Forged[], options: Options = {}): Refusal {
  const outcome = verify(chain, anchors, options);
  if (Result.isSuccess(outcome)) throw new Error("it was accepted");
  return outcome.failure;
}

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root });
const leaf = forge("leaf", { issuer: middle });
const stranger = forge("stranger", { ca: true });
const critical = (oid: string): Extension => ({ oid, critical: true, value: derNull });

test("takes leaf and intermediate where only the root is an anchor", () => {
  assert.is(evaluate([leaf, middle], [root]), "leaf < middle < root");
});

test("takes the leaf alone where the intermediate is an anchor", () => {
  assert.is(evaluate([leaf], [middle]), "leaf < middle");
});

test("takes leaf and intermediate where the intermediate is an anchor", () => {
  assert.is(evaluate([leaf, middle], [middle]), "leaf < middle");
  assert.is(evaluate([leaf, middle], [middle, root]), "leaf < middle");
  assert.is(Result.getOrThrow(verify([leaf, middle], [middle, root])).signatureChecks, 1);
});

test("takes the others in any order, with the root, strangers and copies among them", () => {
  const low = forge("low", { ca: true, issuer: middle });
  const node = forge("node", { issuer: low });
  for (const others of [[low, middle, root], [root, middle, low], [stranger, middle, low, low, node], [middle, low]]) {
    assert.is(evaluate([node, ...others], [root]), "node < low < middle < root");
  }
});

test("takes the existing network's chain, whose certificates have no key identifiers of issuers", () => {
  const rows = JSON.parse(readFileSync(new URL("../vectors/wire/certs.json", import.meta.url), "utf8"));
  const der = (name: string): Uint8Array =>
    Buffer.from(rows.find((row: { name: string }) => row.name === name).hex, "hex");
  const trust = (name: string) =>
    Result.getOrThrow(makeTrustSnapshot({
      trustPem: formatPem("CERTIFICATE", der("node")) + formatPem("CERTIFICATE", der(name)),
      policy: defaultPolicy,
      generation: 1,
      at,
    })).snapshot;
  const byOrganisation = Result.getOrThrow(verifyPath([der("node")], trust("organisation"), { at }));
  assert.is(byOrganisation.identity.peer, "12D3KooWCofsHFCiPAZDDo4ZcRkzUZEkhuz3awyU9iHkhvf6LQPH");
  assert.is(byOrganisation.identity.name, "jsb");
  assert.equal(byOrganisation.identity.names, ["IP:0.0.0.0", "DNS:jsb"]);
  assert.is(byOrganisation.identity.role, undefined);
  assert.equal(byOrganisation.expiresAt, new Date("2027-11-24T23:34:33Z"));
  assert.is(byOrganisation.signatureChecks, 1);
  const byRoot = Result.getOrThrow(verifyPath([der("node"), der("organisation")], trust("root"), { at }));
  assert.is(byRoot.path.length, 3);
  assert.is(byRoot.signatureChecks, 2);
  const foreign = verifyPath([der("node of another root")], trust("organisation"), { at });
  assert.is(Result.isFailure(foreign) && foreign.failure.code, "unknown-issuer");
});

test("takes a leaf of a CA that was renewed with its old key, whichever certificate is the anchor", () => {
  const renewed = forge("middle", { ca: true, issuer: root, keyOf: middle, notAfter: later(900) });
  assert.is(evaluate([leaf], [renewed]), "leaf < middle");
  assert.is(evaluate([leaf, renewed], [root]), "leaf < middle < root");
  const expired = forge("middle", { ca: true, issuer: root, keyOf: middle, notBefore: later(-9), notAfter: later(-2) });
  assert.is(evaluate([leaf, expired, renewed], [root]), "leaf < middle < root");
});

test("finds the right one of two CAs of one name", () => {
  const namesake = forge("middle", { ca: true, issuer: root });
  assert.is(evaluate([leaf, namesake, middle], [root]), "leaf < middle < root");
  assert.is(evaluate([leaf], [namesake, middle]), "leaf < middle");
});

test("asks the CA first whose key identifier the certificate names, and believes no identifier", () => {
  const aki = { oid: "2.5.29.35", critical: false, value: Uint8Array.of(0x30, 3, 0x80, 1, 7) };
  const one = (id: number, keyOf?: Forged) =>
    forge("ca", { ca: true, add: [subjectKeyId(Uint8Array.of(id))], ...(keyOf && { keyOf }) });
  const named = one(7);
  const anchors = [one(8, named), named, one(9, named)];
  const first = (node: Forged) => Result.getOrThrow(verify([node], anchors)).path.at(-1)!.subjectKeyId;
  assert.is(first(forge("node", { issuer: named, add: [aki] })), "07");
  assert.is(first(forge("node", { issuer: named })), "08");
  const other = one(8);
  assert.is(evaluate([forge("node", { issuer: other, add: [aki] })], [named, other]), "node < ca");
  assert.is(evaluate([forge("node", { issuer: named, signer: stranger, add: [aki] })], [named]), "bad-signature");
});

test("follows a cross-signature to the anchor that is there", () => {
  const crossed = forge("root", { ca: true, issuer: stranger, keyOf: root });
  assert.is(evaluate([leaf, middle, crossed], [stranger]), "leaf < middle < root < stranger");
  assert.is(evaluate([leaf, middle, crossed], [root]), "leaf < middle < root");
});

const roleUri = (text: string) => forge("node", { issuer: root, san: [`URI:${text}`] });
const twoUris = forge("node", { issuer: root, san: ["URI:spiffe://a/worker/x", "URI:spiffe://a/data/x"] });
const p256 = forge("node", { issuer: root, algorithm: "p256" });
const rsa = forge("node", { issuer: root, algorithm: "rsa-2048" });
const shortRsa = forge("node", { issuer: root, algorithm: "rsa-1024" });
const p256Ca = forge("p256", { ca: true, algorithm: "p256" });
const everything = {
  leafAlgorithms: ["ed25519", "ecdsa-p256", "rsa"],
  caAlgorithms: ["ed25519", "ecdsa-p256"],
} as const;
const purposes = (...oids: string[]) => forge("node", { issuer: root, add: [extendedKeyUsage(oids)] });
const server = "1.3.6.1.5.5.7.3.1";
const client = "1.3.6.1.5.5.7.3.2";
const withoutSign = forge("ca", { ca: true, issuer: root, add: [keyUsage(["cRLSign"])] });
const pathZero = forge("zero", { ca: 0, issuer: root });
const belowZero = forge("below", { ca: true, issuer: pathZero });
const selfIssuedZero = forge("zero", { ca: true, issuer: pathZero });
const pathOne = forge("one", { ca: 1, issuer: root });
const belowOne = forge("below", { ca: true, issuer: pathOne });
const notCa = forge("nobody", { issuer: root, add: [keyUsage(["digitalSignature", "keyCertSign"])] });
const serverCa = forge("ca", { ca: true, issuer: root, add: [extendedKeyUsage([server])] });
const bothCa = forge("ca", { ca: true, issuer: root, add: [extendedKeyUsage([server, client])] });
const strictCa = forge("ca", { ca: true, issuer: root, add: [critical("2.5.29.36")] });

const rows: [name: string, chain: Forged[], expected: string, options?: Options & { anchors?: Forged[] }][] = [
  ["no certificate", [], "no-certificate"],
  ["a certificate that is self-signed", [forge("self")], "self-signed"],
  ["a self-signed one of the bundle", [stranger], "self-signed", { anchors: [root, stranger] }],
  ["one that only bears its issuer's name", [forge("root", { issuer: root })], "root < root"],
  ["a leaf of an unknown CA", [forge("node", { issuer: stranger })], "unknown-issuer"],
  ["an unknown CA that comes along", [forge("node", { issuer: stranger }), stranger], "unknown-issuer"],
  ["an intermediate that is missing", [leaf], "unknown-issuer"],
  [
    "a leaf signed by a namesake of the anchor",
    [forge("node", { issuer: forge("root", { ca: true }) })],
    "bad-signature",
  ],
  ["an intermediate signed by a namesake", [
    forge("node", { issuer: forge("x", { ca: true, issuer: root, signer: stranger, keyOf: middle }), signer: middle }),
    forge("x", { ca: true, issuer: root, signer: stranger, keyOf: middle }),
  ], "bad-signature"],
  ["an issuer that is no CA", [forge("node", { issuer: notCa }), notCa], "not-a-ca"],
  ["an issuer without keyCertSign", [forge("node", { issuer: withoutSign }), withoutSign], "key-usage"],
  ["a CA's certificate in place of a node's", [middle], "key-usage"],
  ["the same with digitalSignature", [
    forge("ca", { ca: true, issuer: root, add: [keyUsage(["digitalSignature", "keyCertSign"])] }),
  ], "key-usage"],
  ["a leaf without digitalSignature", [
    forge("node", { issuer: root, add: [keyUsage(["keyAgreement"])] }),
  ], "key-usage"],
  ["a leaf without key usage", [forge("node", { issuer: root, omit: ["2.5.29.15"] })], "node < root"],
  ["a leaf for both purposes", [purposes(server, client)], "node < root"],
  ["a leaf for any purpose", [purposes("2.5.29.37.0")], "node < root"],
  ["a leaf without extended key usage", [forge("node", { issuer: root, omit: ["2.5.29.37"] })], "node < root"],
  ["a leaf for servers only", [purposes(server)], "extended-key-usage"],
  ["a leaf for clients only", [purposes(client)], "extended-key-usage"],
  ["a CA for servers only", [forge("node", { issuer: serverCa }), serverCa], "extended-key-usage"],
  ["a CA for both", [forge("node", { issuer: bothCa }), bothCa], "node < ca < root"],
  ["path length 0 with nothing between", [forge("node", { issuer: pathZero }), pathZero], "node < zero < root"],
  ["path length 0 with a CA below", [forge("node", { issuer: belowZero }), belowZero, pathZero], "path-too-long"],
  ["path length 0 with a self-issued CA below", [
    forge("node", { issuer: selfIssuedZero }),
    selfIssuedZero,
    pathZero,
  ], "node < zero < zero < root"],
  [
    "path length 1 with one CA below",
    [forge("node", { issuer: belowOne }), belowOne, pathOne],
    "node < below < one < root",
  ],
  ["path length of the anchor itself", [forge("node", { issuer: belowZero }), belowZero], "path-too-long", {
    anchors: [pathZero],
  }],
  [
    "a critical extension on the leaf",
    [forge("node", { issuer: root, add: [critical("1.2.3")] })],
    "unknown-critical-extension",
  ],
  ["the same, not critical", [
    forge("node", { issuer: root, add: [{ ...critical("1.2.3"), critical: false }] }),
  ], "node < root"],
  [
    "critical policy constraints on a CA",
    [forge("node", { issuer: strictCa }), strictCa],
    "unknown-critical-extension",
  ],
  ["the same on an anchor", [forge("node", { issuer: strictCa })], "unknown-critical-extension", {
    anchors: [strictCa],
  }],
  ["a P-256 leaf by default", [p256], "unsupported-key-algorithm"],
  ["a P-256 leaf where it is allowed", [p256], "node < root", { policy: everything }],
  ["an RSA leaf of 2048 bits where it is allowed", [rsa], "node < root", { policy: everything }],
  ["an RSA leaf of 1024 bits", [shortRsa], "unsupported-key-algorithm", { policy: everything }],
  [
    "a secp256k1 leaf, whatever is allowed",
    [
      forge("node", { issuer: root, algorithm: "secp256k1" }),
    ],
    "unsupported-key-algorithm",
    { policy: { leafAlgorithms: ["ed25519", "unknown"] } },
  ],
  ["a P-256 CA by default", [forge("node", { issuer: p256Ca })], "unsupported-key-algorithm", { anchors: [p256Ca] }],
  ["a P-256 CA where it is allowed", [forge("node", { issuer: p256Ca })], "node < p256", {
    anchors: [p256Ca],
    policy: everything,
  }],
  ["a signature of an algorithm that is not checked", [
    forge("node", { issuer: forge("ed448", { ca: true, algorithm: "ed448" }) }),
  ], "unsupported-key-algorithm"],
  ["a leaf at its notAfter", [forge("node", { issuer: root, notAfter: at })], "node < root"],
  ["a leaf a millisecond after it", [forge("node", { issuer: root, notAfter: at })], "certificate-expired", {
    at: new Date(at.getTime() + 1),
  }],
  ["a leaf at its notBefore", [forge("node", { issuer: root, notBefore: at })], "node < root"],
  ["a leaf a millisecond before it", [forge("node", { issuer: root, notBefore: at })], "certificate-not-yet-valid", {
    at: new Date(at.getTime() - 1),
  }],
  ["a time that is none", [leaf, middle], "certificate-not-yet-valid", { at: new Date(NaN) }],
  ["a role that is known", [roleUri("spiffe://acme/worker/node")], "node < root"],
  ["a role that is not", [roleUri("spiffe://acme/admin/node")], "role-not-allowed"],
  ["a URI without a name", [roleUri("spiffe://acme/worker")], "role-not-allowed"],
  ["a URI of another scheme", [roleUri("https://acme/worker/node")], "role-not-allowed"],
  ["a URI with user information", [roleUri("spiffe://x@acme/worker/node")], "role-not-allowed"],
  ["two URIs", [twoUris], "role-not-allowed"],
  ["a role that the policy leaves out", [roleUri("spiffe://acme/worker/node")], "role-not-allowed", {
    policy: { allowedRoles: ["gateway"] },
  }],
  ["no role where one is required", [forge("node", { issuer: root })], "role-not-allowed", {
    policy: { roles: "require" },
  }],
  ["a role where one is required", [roleUri("spiffe://acme/data/node")], "node < root", {
    policy: { roles: "require" },
  }],
  ["another peer than was dialled", [leaf, middle], "peer-id-mismatch", { expectedPeer: "12D3KooWother" }],
];

for (const [name, chain, expected, options = {}] of rows) {
  test(`evaluates ${name}: ${expected}`, () => {
    assert.is(evaluate(chain, options.anchors ?? [root], options), expected);
  });
}

test("refuses an expired CA, and prefers to speak of the leaf", () => {
  const old = forge("old", { ca: true, issuer: root, notBefore: later(-9), notAfter: later(-2) });
  const expired = refusalOf([forge("node", { issuer: old }), old], [root]);
  assert.is(expired.code, "certificate-expired");
  assert.match(expired.message, "CN=old");
  const both = refusalOf([forge("node", { issuer: old, notBefore: later(1) }), old], [root]);
  assert.is(both.code, "certificate-not-yet-valid");
  assert.match(both.message, "CN=node");
  assert.is(evaluate([forge("node", { issuer: old })], [old]), "certificate-expired");
});

test("names the first certificate to expire", () => {
  const brief = forge("brief", { ca: true, issuer: root, notAfter: later(3) });
  const { expiresAt } = Result.getOrThrow(verify([forge("node", { issuer: brief }), brief], [root]));
  assert.equal(expiresAt, later(3));
});

test("gives the PeerID that was dialled when it is the leaf's", () => {
  const { identity } = Result.getOrThrow(verify([leaf, middle], [root]));
  assert.is(evaluate([leaf, middle], [root], { expectedPeer: identity.peer }), "leaf < middle < root");
});

test("says which URI or roles it found", () => {
  const refusal = refusalOf([roleUri("spiffe://acme/admin/node")], [root]);
  assert.is(refusal._tag === "RoleNotAllowed" && refusal.role, "admin");
  const { identity } = Result.getOrThrow(verify([roleUri("spiffe://acme/worker/node")], [root]));
  assert.equal([identity.role, identity.domain], ["worker", "acme"]);
});

test("gives the most telling of several refusals", () => {
  const namesake = forge("ca", { ca: true });
  const real = forge("ca", { ca: true, issuer: root, add: [extendedKeyUsage([server])] });
  const node = forge("node", { issuer: real });
  assert.is(evaluate([node, namesake, real], [root]), "extended-key-usage");
  assert.is(evaluate([node, real, namesake], [root]), "extended-key-usage");
  assert.is(evaluate([node, namesake], [root, namesake]), "bad-signature");
});

test("names the certificate whose issuer is unknown, and how it got there", () => {
  const refusal = refusalOf([leaf, middle], [stranger]);
  assert.ok(refusal._tag === "UnknownIssuer");
  assert.equal([refusal.certificate.subject, refusal.issuer], ["CN=middle", "CN=root"]);
  assert.equal(refusal.tried?.map(({ subject }) => subject), ["CN=leaf", "CN=middle"]);
});

test("takes a path of as many certificates as are allowed and refuses one more", () => {
  const build = (length: number) => {
    const chain = [root];
    while (chain.length < length - 1) chain.unshift(forge(`ca ${chain.length}`, { ca: true, issuer: chain[0]! }));
    return [forge("node", { issuer: chain[0]! }), ...chain.slice(0, -1)];
  };
  assert.is(evaluate(build(pathLengthMax), [root]).split(" < ").length, pathLengthMax);
  const refusal = refusalOf(build(pathLengthMax + 1), [root]);
  assert.equal([refusal.code, refusal._tag === "PathTooLong" && refusal.max], ["path-too-long", 6]);
});

test("counts the CAs between leaf and anchor against the caller's limit, those that are self-issued not", () => {
  const within = (intermediatesMax: number, chain: readonly Forged[], anchor: Forged) => {
    const { snapshot } = Result.getOrThrow(
      makeTrustSnapshot({ trustPem: anchor.pem, policy: defaultPolicy, generation: 1, at }),
    );
    const outcome = findPaths(Result.getOrThrow(checkWellFormed(chain.map(({ der }) => der))), snapshot, {
      intermediatesMax,
    });
    return Result.isSuccess(outcome) ? "found" : outcome.failure.code;
  };
  assert.is(within(1, [leaf, middle], root), "found");
  assert.is(within(0, [leaf, middle], root), "path-too-long");
  assert.is(within(0, [leaf], middle), "found", "an anchor is not between");
  assert.is(within(0, [leaf, middle], stranger), "path-too-long", "one between is too many wherever it leads");
  const rolled = forge("root", { ca: true, issuer: root });
  assert.is(within(0, [forge("node", { issuer: rolled }), rolled], root), "found", "a CA's new key, signed by its old");
});

test("follows a CA that certified its own key under another name", () => {
  const renamed = forge("renamed", { ca: true, issuer: root, keyOf: root });
  assert.is(evaluate([forge("node", { issuer: renamed }), renamed], [root]), "node < renamed < root");
});

test("names the purpose that is missing, by its OID where it has no name here", () => {
  const needed = (purposes: string[], policy: Partial<Policy> = {}) => {
    const refusal = refusalOf([forge("node", { issuer: root, add: [extendedKeyUsage(purposes)] })], [root], { policy });
    return refusal._tag === "ExtendedKeyUsage" ? refusal.needed : refusal.code;
  };
  assert.is(needed([client]), "serverAuth");
  assert.is(needed([server]), "clientAuth");
  assert.is(needed([server, client], { purposes: ["1.2.3.4"] }), "1.2.3.4");
});

test("tells a CA whose signature is of an unknown algorithm from one whose signature is wrong", () => {
  const odd = forge("middle", { ca: true, issuer: root, keyOf: middle, signer: forge("odd", { algorithm: "ed448" }) });
  assert.is(evaluate([leaf, odd], [root]), "unsupported-key-algorithm");
  const wrong = forge("middle", { ca: true, issuer: root, keyOf: middle, signer: stranger });
  assert.is(evaluate([leaf, wrong], [root]), "bad-signature");
});

test("takes a chain of as many certificates as are allowed and refuses one more", () => {
  const others = Array.from({ length: chainCertificatesMax - 2 }, () => stranger);
  assert.is(evaluate([leaf, middle, ...others], [root]), "leaf < middle < root");
  assert.is(evaluate([leaf, middle, ...others, stranger], [root]), "budget-exceeded");
});

test("names the malformed one by its place", () => {
  const outcome = verifyPath([leaf.der, middle.der.subarray(1)], {
    generation: 1,
    anchors: [],
    anchorsId: "",
    revocation: undefined,
    policy: defaultPolicy,
  }, { at });
  assert.ok(Result.isFailure(outcome) && outcome.failure._tag === "MalformedCertificate");
  assert.is(outcome.failure.index, 1);
});

test("refuses a leaf with any one bit changed", () => {
  const { snapshot } = Result.getOrThrow(
    makeTrustSnapshot({ trustPem: middle.pem, policy: defaultPolicy, generation: 1, at }),
  );
  assert.ok(Result.isSuccess(verifyPath([leaf.der], snapshot, { at })));
  for (let bit = 0; bit < leaf.der.length * 8; bit += 3) {
    const changed = Uint8Array.from(leaf.der);
    changed[bit >> 3]! ^= 1 << (bit & 7);
    assert.ok(Result.isFailure(verifyPath([changed], snapshot, { at })), `bit ${bit}`);
  }
});

test("keeps its hands off the ca flag of a leaf's basic constraints", () => {
  const plain = forge("node", { issuer: root, add: [basicConstraints(false)] });
  assert.is(Result.getOrThrow(parseCertificate(plain.der)).basicConstraints?.ca, false);
  assert.is(evaluate([plain], [root]), "node < root");
});

test.run();
