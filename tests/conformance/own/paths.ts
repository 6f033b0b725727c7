/** Paths: their dates, depth, purposes and usages, keys and identifiers, and graphs in which they have to be found. */
import { Buffer } from "node:buffer";
import { bitString, derNull, oid, primitive, sequence } from "../../../pki/issue/der_writer.ts";
import { basicConstraints, extendedKeyUsage, keyUsage } from "../../../pki/issue/extensions.ts";
import { type DerNode, readTree, writeTree } from "../../../scripts/fuzz/der_tree.ts";
import { at, forge, type Forged, type ForgeOptions, later } from "../../support/forge.ts";
import {
  authority,
  type CaseOptions,
  constraints,
  extension,
  type OwnCase,
  purposes,
  root,
  server,
  serverCase,
  user,
  userCase,
} from "../../support/limbo_world.ts";

const ca = root();
const middle = authority(ca);
const oids = {
  keyUsage: "2.5.29.15",
  constraints: "2.5.29.19",
  purposes: "2.5.29.37",
  subjectKey: "2.5.29.14",
  authorityKey: "2.5.29.35",
};
const strange = extension("1.3.6.1.4.1.55738.666.1", true, derNull);

/** One certificate of a chain is odd: the leaf's, the intermediate's or the root's. */
function odd(
  id: string,
  change: { leaf?: ForgeOptions; middle?: ForgeOptions; root?: ForgeOptions },
  code: string | null,
  more: CaseOptions & { suite?: "SUCCESS" } = {},
) {
  const top = change.root === undefined ? ca : root(change.root);
  const issuer = authority(top, change.middle);
  return serverCase(id, [server(issuer, change.leaf), top], code, { others: [issuer], ...more });
}

const dated: readonly OwnCase[] = [
  odd("validity::root-over", { root: { notAfter: later(-0.5) } }, "certificate-expired"),
  odd("validity::intermediate-over", { middle: { notAfter: later(-0.5) } }, "certificate-expired"),
  odd("validity::leaf-over", { leaf: { notAfter: later(-0.5) } }, "certificate-expired"),
  odd("validity::last-second", { leaf: { notAfter: at } }, null),
  odd("validity::a-second-after-it", { leaf: { notAfter: at } }, "certificate-expired", {
    at: new Date(at.getTime() + 1_000),
  }),
  odd("validity::first-second", { leaf: { notBefore: at } }, null),
  odd("validity::a-second-before-it", { leaf: { notBefore: at } }, "certificate-not-yet-valid", {
    at: new Date(at.getTime() - 1_000),
  }),
];

/** A chain of CAs with these path lengths, from the root's child down to the leaf's issuer. */
function chainOf(id: string, lengths: readonly (number | true)[], code: string | null, depth?: number): OwnCase {
  const cas: Forged[] = [];
  for (const [index, length] of lengths.entries()) cas.unshift(authority(cas[0] ?? ca, { ca: length }, `ca ${index}`));
  const options = { others: cas, ...(depth === undefined ? {} : { depth }) };
  return serverCase(`pathlen::${id}`, [server(cas[0] ?? ca), ca], code, options);
}
const once = authority(ca, { ca: 1 }, "twice");
const twice = authority(once, { ca: 1 }, "twice");
const below = authority(twice, { ca: 0 }, "below");
const lengths: readonly OwnCase[] = [
  chainOf("one", [1], null),
  chainOf("may-increase", [1, 2], null),
  chainOf("too-long", [1, 0, 0], "path-too-long"),
  serverCase("pathlen::self-issued-not-counted", [server(below), ca], null, { others: [once, twice, below] }),
  chainOf("depth-0", [], null, 0),
  chainOf("depth-2", [true, true], null, 2),
  chainOf("depth-2-exhausted", [true, true, true], "path-too-long", 2),
  serverCase("pathlen::depth-1-self-issued", [server(twice), ca], null, { others: [once, twice], depth: 1 }),
];

const forms: readonly OwnCase[] = [
  odd("form::plain", {}, null),
  odd("form::no-key-usage", { leaf: { omit: [oids.keyUsage] } }, null),
  odd("form::root-without-key-usage", { root: { omit: [oids.keyUsage] } }, null),
  odd("form::leaf-signs-certificates", { leaf: { add: [keyUsage(["digitalSignature", "keyCertSign"])] } }, "key-usage"),
  odd(
    "form::usage-of-nothing",
    { leaf: { add: [extension(oids.keyUsage, true, bitString(new Uint8Array()))] } },
    "malformed-certificate",
  ),
  odd("form::leaf-is-a-ca-without-usage", { leaf: { add: [basicConstraints(true)] } }, "key-usage"),
  odd("form::root-without-constraints", { root: { omit: [oids.constraints] } }, "not-a-ca"),
  odd("form::intermediate-without-constraints", { middle: { omit: [oids.constraints] } }, "not-a-ca"),
  odd("form::intermediate-may-not-sign", { middle: { add: [keyUsage(["digitalSignature"])] } }, "key-usage"),
  odd("form::unknown-critical-extension", { middle: { add: [strange] } }, "unknown-critical-extension"),
  odd("form::version-1", { leaf: { tbs: versionOne } }, "malformed-certificate"),
  odd("form::extension-twice", { leaf: { tbs: repeated } }, "malformed-certificate"),
  odd("form::serial-0", { leaf: { serial: 0 } }, "malformed-certificate"),
  odd("form::serial-of-21-octets", { leaf: { serial: Buffer.alloc(21, 0x11) } }, "malformed-certificate"),
  odd("form::serial-of-20-octets", { leaf: { serial: Buffer.alloc(20, 0x11) } }, null),
  odd("form::policy-constraints", { middle: { add: [policies(false)] } }, "unknown-issuer"),
  odd("form::policy-constraints-critical", { middle: { add: [policies(true)] } }, "unknown-critical-extension", {
    suite: "SUCCESS",
  }),
];

const identifiers: readonly OwnCase[] = [
  odd("ids::leaf-without-authority", { leaf: { omit: [oids.authorityKey] } }, "malformed-certificate"),
  odd("ids::intermediate-without-authority", { middle: { omit: [oids.authorityKey] } }, "malformed-certificate"),
  odd("ids::root-without-authority", { root: { omit: [oids.authorityKey] } }, null),
  odd(
    "ids::old-root-without-authority",
    { root: { omit: [oids.authorityKey], algorithm: "rsa-2048", hash: "sha1" } },
    null,
  ),
  odd("ids::root-without-subject", { root: { omit: [oids.subjectKey, oids.authorityKey] } }, "malformed-certificate"),
  odd("ids::intermediate-without-subject", { middle: { omit: [oids.subjectKey] } }, "malformed-certificate"),
  odd("ids::critical-authority", {
    root: { add: [extension(oids.authorityKey, true, sequence(primitive(0, Buffer.alloc(20))))] },
  }, "malformed-certificate"),
  odd("ids::critical-subject", {
    root: { add: [extension(oids.subjectKey, true, Buffer.from([4, 1, 1]))], omit: [oids.authorityKey] },
  }, "malformed-certificate"),
  odd(
    "ids::empty-authority-of-a-root",
    { root: { add: [extension(oids.authorityKey, false, sequence())] } },
    "malformed-certificate",
  ),
];

const eku = (...uses: string[]) => ({ add: [extendedKeyUsage(uses)] });
const uses: readonly OwnCase[] = [
  odd("eku::client-only", { leaf: eku(purposes.client) }, "extended-key-usage"),
  odd("eku::any", { leaf: eku(purposes.server, purposes.any) }, "extended-key-usage"),
  odd("eku::client-too", { leaf: eku(purposes.server, purposes.client) }, null),
  odd("eku::code-too", { leaf: eku(purposes.server, purposes.code) }, "extended-key-usage"),
  odd("eku::mail-too", { leaf: eku(purposes.server, purposes.mail) }, "extended-key-usage"),
  odd("eku::times-too", { leaf: eku(purposes.server, "1.3.6.1.5.5.7.3.8") }, "extended-key-usage"),
  odd("eku::ocsp-too", { leaf: eku(purposes.server, "1.3.6.1.5.5.7.3.9") }, "extended-key-usage"),
  odd("eku::precertificates-only", { leaf: eku("1.3.6.1.4.1.11129.2.4.4") }, "extended-key-usage"),
  odd("eku::precertificates-too", { leaf: eku(purposes.server, "1.3.6.1.4.1.11129.2.4.4") }, "extended-key-usage"),
  odd("eku::intermediate-for-mail", { middle: eku(purposes.mail) }, "extended-key-usage"),
  odd("eku::root-for-servers", { root: eku(purposes.server) }, "extended-key-usage"),
  odd(
    "eku::none",
    { leaf: { omit: [oids.purposes], add: [extension(oids.purposes, false, sequence())] } },
    "malformed-certificate",
  ),
  userCase("smime::user", [user(ca, ["a@example.com"], purposes.mail), ca], "extended-key-usage", {
    mailboxes: ["a@example.com"],
    use: "emailProtection",
    suite: "SUCCESS",
  }),
  userCase("smime::server-too", [user(ca, ["a@example.com"], purposes.server), ca], "extended-key-usage", {
    mailboxes: ["a@example.com"],
    use: "emailProtection",
  }),
];

const p521 = sequence(
  sequence(oid("1.2.840.10045.2.1"), oid("1.3.132.0.35")),
  bitString(Uint8Array.from({ length: 133 }, (_, index) => index === 0 ? 4 : 1)),
);
const mlDsa = sequence(oid("2.16.840.1.101.3.4.3.17"));
const keys: readonly OwnCase[] = [
  odd("key::p256", { root: { algorithm: "p256" }, middle: { algorithm: "p384" }, leaf: { algorithm: "p256" } }, null),
  odd("key::rsa", { leaf: { algorithm: "rsa-2048" } }, null),
  odd("key::short-rsa", { leaf: { algorithm: "rsa-1024" } }, "unsupported-key-algorithm"),
  odd("key::short-rsa-of-a-root", { root: { algorithm: "rsa-1024" } }, "unsupported-key-algorithm"),
  odd("key::secp256k1", { leaf: { algorithm: "secp256k1" } }, "unsupported-key-algorithm"),
  odd("key::ed448", { leaf: { algorithm: "ed448" } }, "unsupported-key-algorithm"),
  odd("key::empty-rsa-of-an-intermediate", {
    middle: {
      tbs: (tbs) => withKey(tbs, sequence(sequence(oid("1.2.840.113549.1.1.1"), derNull), bitString(new Uint8Array()))),
    },
  }, "unsupported-key-algorithm"),
  odd(
    "key::ml-dsa",
    { leaf: { tbs: (tbs) => withKey(tbs, sequence(mlDsa, bitString(new Uint8Array(1_312)))) } },
    "unsupported-key-algorithm",
    { suite: "SUCCESS" },
  ),
  odd("key::p521", { leaf: { tbs: (tbs) => withKey(tbs, p521) } }, "unsupported-key-algorithm", { suite: "SUCCESS" }),
  odd(
    "key::sha1-on-the-leaf",
    { middle: { algorithm: "rsa-2048" }, leaf: { hash: "sha1" } },
    "unsupported-key-algorithm",
  ),
  odd(
    "key::sha1-on-the-intermediate",
    { root: { algorithm: "rsa-2048" }, middle: { hash: "sha1" } },
    "unsupported-key-algorithm",
  ),
];

/** Two names for the middle of a path, each certified by the other, and one of them by the root. */
const [a, b] = [forge("a", { ca: true }), forge("b", { ca: true })];
const cross = (subject: Forged, issuer: Forged, options: ForgeOptions = {}) =>
  authority(issuer, { keyOf: subject, ...options }, subject.name);
const graph = (
  id: string,
  others: readonly Forged[],
  code: string | null,
  anchors: readonly [Forged, ...Forged[]] = [ca],
) => serverCase(`graph::${id}`, [server(b), ...anchors], code, { others });
const bad: [why: string, options: ForgeOptions][] = [
  ["expired", { notAfter: later(-0.5) }],
  ["name-constraints", { add: [constraints(["DNS:bad.example.org"])] }],
  ["purposes", { add: [extendedKeyUsage([purposes.mail])] }],
  ["no-constraints", { omit: [oids.constraints] }],
  ["no-ca", { ca: false }],
];
const second = root({}, "second");
const loop = forge("loop", { ca: true });
const graphs: readonly OwnCase[] = [
  graph("cycle-without-a-root", [cross(a, b), cross(b, a)], "unknown-issuer"),
  graph("cycle-with-a-root", [cross(a, b), cross(b, a), cross(a, ca)], null),
  serverCase("graph::self-cycle", [server(loop), ca], "unknown-issuer", {
    others: [cross(loop, loop), cross(loop, forge("loop", { ca: true }))],
  }),
  graph("unrelated-beside", [middle, cross(b, ca), authority(second)], null),
  serverCase("graph::root-sent-intermediate-trusted", [server(middle), middle], null, { others: [ca] }),
  serverCase("graph::untrusted-root", [server(middle), second], "unknown-issuer", { others: [ca, middle] }),
  ...bad.flatMap(([why, options]) => [
    graph(`first-root-${why}`, [cross(b, ca, options), cross(b, second)], null, [ca, second]),
    graph(`second-root-${why}`, [cross(b, ca), cross(b, second, options)], null, [ca, second]),
    graph(`long-way-only-${why}`, [cross(b, ca, options), cross(b, a), cross(a, ca)], null),
    serverCase(`graph::no-way-${why}`, [server(b), ca], codeOf(why), { others: [cross(b, ca, options)] }),
  ]),
];

function codeOf(why: string): string {
  if (why === "expired") return "certificate-expired";
  if (why === "name-constraints") return "name-constraint";
  return why === "purposes" ? "extended-key-usage" : "not-a-ca";
}

function policies(critical: boolean) {
  return extension("2.5.29.36", critical, sequence(primitive(0, Uint8Array.of(3))));
}

function bend(tbs: Uint8Array, change: (fields: DerNode[]) => void): Uint8Array {
  const [tree] = readTree(tbs) as [DerNode];
  change(tree.children!);
  return writeTree(tree);
}

function nodeOf(der: Uint8Array): DerNode {
  return readTree(der)![0]!;
}

/** Without version and extensions. */
function versionOne(tbs: Uint8Array): Uint8Array {
  return bend(tbs, (fields) => fields.splice(0, fields.length, ...fields.slice(1, 7)));
}

/** With its last extension once more. */
function repeated(tbs: Uint8Array): Uint8Array {
  return bend(tbs, (fields) => {
    const list = fields.at(-1)!.children![0]!.children!;
    list.push(list.at(-1)!);
  });
}

function withKey(tbs: Uint8Array, spki: Uint8Array): Uint8Array {
  return bend(tbs, (fields) => fields.splice(6, 1, nodeOf(spki)));
}

export const pathCases: readonly OwnCase[] = [
  ...dated,
  ...lengths,
  ...forms,
  ...identifiers,
  ...uses,
  ...keys,
  ...graphs,
];
