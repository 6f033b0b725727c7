import { Buffer } from "node:buffer";
import { createPrivateKey } from "node:crypto";
import { readFile } from "node:fs/promises";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Certificate, parseCertificate } from "../../../pki/certificate.ts";
import {
  IssueError,
  issueIntermediate,
  issueNode,
  type IssueOverrides,
  issueRoot,
  nameConstraints,
} from "../../../pki/issue/mod.ts";
import { overridden } from "../../../pki/issue/certificate_template.ts";
import { derValue, oid, sequence, setOfOne, utf8String } from "../../../pki/issue/der_writer.ts";
import { isDnsName, parseGeneralName } from "../../../pki/issue/general_name.ts";
import { libraryName, loadLibrary } from "../../../pki/issue/to_library.ts";
import { formatPem } from "../../../pki/pem.ts";
import { verifyPath } from "../../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../../pki/trust.ts";
import { makeTestPki } from "../../support/pki.ts";

const test = suite("issuing certificates");
const period = { notBefore: new Date("2026-01-01T00:00:00Z"), notAfter: new Date("2027-01-01T00:00:00Z") };
const at = new Date("2026-06-01T00:00:00Z");

const parsed = (der: Uint8Array): Certificate => Result.getOrThrow(parseCertificate(der));
const names = (der: Uint8Array) => parsed(der).subjectAltNames.map(({ type, value }) => `${type}:${value}`);

async function problem(issuing: Promise<unknown>): Promise<string> {
  try {
    await issuing;
    return "issued";
  } catch (error) {
    if (error instanceof IssueError) return error.problem;
    throw error;
  }
}

function verdict(chain: readonly Uint8Array[], trustPem: string): string {
  const { snapshot } = Result.getOrThrow(makeTrustSnapshot({ trustPem, policy: defaultPolicy, generation: 1, at }));
  return Result.match(verifyPath(chain, snapshot, { at }), { onSuccess: () => "accepted", onFailure: (e) => e.code });
}

test("makes a chain that verifies, from the root alone", async () => {
  const pki = await makeTestPki({ at });
  const node = await pki.node("worker-1", { role: "worker" });
  assert.is(verdict(node.chain, pki.trustPem), "accepted");
  assert.is(verdict([node.der], pki.trustPem), "unknown-issuer");
  const self = await pki.selfSigned("worker-2");
  assert.is(verdict(self.chain, pki.trustPem), "self-signed");
});

test("gives a root what a root has", async () => {
  const root = await issueRoot({ commonName: "Root", country: "US", organization: "Acme", ...period });
  const certificate = parsed(root.der);
  assert.is(certificate.subject.text, "CN=Root, C=US, O=Acme");
  assert.equal(certificate.basicConstraints, { ca: true, pathLength: undefined });
  assert.equal(certificate.keyUsage, ["digitalSignature", "keyCertSign", "cRLSign"]);
  assert.is(certificate.extendedKeyUsage, undefined);
  assert.is(certificate.subjectKeyId?.length, 40);
  assert.is(certificate.authorityKeyId, certificate.subjectKeyId);
  assert.equal(certificate.period, period);
});

test("gives a node what a node has", async () => {
  const pki = await makeTestPki({ at });
  const certificate = parsed((await pki.node("gateway-01.hypha.local")).der);
  assert.is(certificate.subject.text, "CN=gateway-01.hypha.local");
  assert.equal(certificate.basicConstraints, { ca: false, pathLength: undefined });
  assert.equal(certificate.keyUsage, ["digitalSignature", "keyAgreement"]);
  assert.equal(certificate.extendedKeyUsage, ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
  assert.is(certificate.authorityKeyId, parsed(pki.intermediate.der).subjectKeyId);
  assert.equal(certificate.unknownCritical, []);
});

const sanCases: [name: string, san: readonly string[] | undefined, expected: readonly string[]][] = [
  ["the usual ones when none is given", undefined, ["ip:0.0.0.0", "dns:node-1"]],
  ["a URI on top of the usual ones", ["URI:spiffe://acme/worker/w1"], [
    "ip:0.0.0.0",
    "dns:node-1",
    "uri:spiffe://acme/worker/w1",
  ]],
  ["a DNS name in their place", ["DNS:a.example"], ["dns:a.example"]],
  ["bare names by their form", ["10.0.0.1", "b.example", "spiffe://acme/data/d", "::1"], [
    "ip:10.0.0.1",
    "dns:b.example",
    "uri:spiffe://acme/data/d",
    "ip:::1",
  ]],
  ["IPv6 in all its forms", ["IP:2001:db8::ffff:1.2.3.4", "IP:::", "fe80::1"], [
    "ip:2001:db8::ffff:102:304",
    "ip:::",
    "ip:fe80::1",
  ]],
  ["none at all for an empty list", [], []],
];
for (const [name, san, expected] of sanCases) {
  test(`takes alternative names: ${name}`, async () => {
    const pki = await makeTestPki({ at });
    const given = san === undefined ? {} : { san };
    assert.equal(
      names((await issueNode({ issuer: pki.intermediate, commonName: "node-1", ...given, ...period })).der),
      [
        ...expected,
      ],
    );
  });
}

test("leaves a common name that is no DNS name out of the usual names", async () => {
  const pki = await makeTestPki({ at });
  assert.equal(names((await pki.node("Node of Ümit")).der), ["ip:0.0.0.0"]);
});

for (const bad of ["DNS:a b", "DNS:", "IP:300.1.1.1", "URI:nothing", "email:nobody", `DNS:${"a".repeat(64)}`]) {
  test(`refuses the alternative name ${bad.slice(0, 20)}`, async () => {
    const pki = await makeTestPki({ at });
    const request = { issuer: pki.intermediate, commonName: "x", ...period };
    assert.is(await problem(issueNode({ ...request, san: [bad] })), "san");
  });
}

test("bounds the number of alternative names", async () => {
  const pki = await makeTestPki({ at });
  const request = { issuer: pki.intermediate, commonName: "x", ...period };
  const many = (count: number) => Array.from({ length: count }, (_, index) => `DNS:n${index}.example`);
  assert.is(await problem(issueNode({ ...request, san: many(100) })), "issued");
  assert.is(await problem(issueNode({ ...request, san: many(101) })), "san");
});

const nameCases: [commonName: string, expected: string][] = [
  ["x".repeat(64), "issued"],
  ["x".repeat(65), "common-name"],
  ["", "common-name"],
  [" ", "common-name"],
  ["a\nb", "common-name"],
  ["Ümit 😀", "issued"],
];
for (const [commonName, expected] of nameCases) {
  test(`common name ${JSON.stringify(commonName.slice(0, 8))} (${commonName.length}): ${expected}`, async () => {
    assert.is(await problem(issueRoot({ commonName, ...period })), expected);
  });
}

test("refuses what does not go together", async () => {
  const pki = await makeTestPki({ at });
  const node = await pki.node("node-1");
  const make = (issuer: { certPem: string; keyPem: string }) =>
    problem(issueNode({ issuer, commonName: "x", ...period }));
  assert.is(await make({ certPem: pki.root.certPem, keyPem: pki.intermediate.keyPem }), "issuer-mismatch");
  assert.is(await make(node), "issuer-not-ca");
  assert.is(await make({ certPem: "rubbish", keyPem: pki.root.keyPem }), "issuer-certificate");
  assert.is(await make({ certPem: pki.root.certPem, keyPem: "rubbish" }), "issuer-key");
  assert.is(
    await problem(issueRoot({ commonName: "x", notBefore: period.notAfter, notAfter: period.notBefore })),
    "validity",
  );
  assert.is(await problem(issueRoot({ commonName: "x", notBefore: at, notAfter: at })), "issued");
  assert.is(await problem(issueRoot({ commonName: "x", country: "USA", ...period })), "country");
});

test("issues for the years 1950 to 9999, to the second", async () => {
  const make = (notBefore: string, notAfter: string) =>
    issueRoot({ commonName: "x", notBefore: new Date(notBefore), notAfter: new Date(notAfter) });
  const widest = ["1950-01-01T00:00:00.000Z", "9999-12-31T23:59:59.000Z"] as const;
  const { period: written } = parsed((await make(...widest)).der);
  assert.equal([written.notBefore.toISOString(), written.notAfter.toISOString()], [...widest]);
  assert.is(await problem(make("1949-12-31T23:59:59Z", "2026-01-01T00:00:00Z")), "validity");
  assert.is(await problem(make("2026-01-01T00:00:00Z", "+010000-01-01T00:00:00Z")), "validity");
  const cut = parsed((await make("2026-01-01T00:00:00.999Z", "2026-01-01T00:00:01.001Z")).der).period;
  assert.equal([cut.notBefore.getTime() % 60_000, cut.notAfter.getTime() % 60_000], [0, 1_000]);
});

test("an extension that is put in takes the place of the usual one of its OID", () => {
  const usual = [{ oid: "1.2.3", critical: false, value: Uint8Array.of(5, 0) }];
  const odd = { oid: "1.2.3", critical: true, value: Uint8Array.of(1, 1, 0xff) };
  const more = { ...odd, oid: "1.2.4" };
  assert.equal(overridden(usual, undefined), usual);
  assert.equal(overridden(usual, { add: [odd, more] }), [odd, more]);
});

test("reads a name with its kind, without it, and up to 253 characters", () => {
  const name = (text: string) => {
    const { type, value } = parseGeneralName(text);
    return `${type} ${value}`;
  };
  assert.is(name("dns:a.example"), "dns a.example");
  assert.is(name(" a.example "), "dns a.example");
  assert.is(name("192.0.2.1"), "ip 192.0.2.1");
  assert.is(name("2001:db8::1"), "ip 2001:db8::1");
  assert.is(name("spiffe://acme/worker/1"), "uri spiffe://acme/worker/1");
  const labels = `${"a".repeat(63)}.`.repeat(3);
  assert.is(isDnsName(labels + "a".repeat(61)), true);
  assert.is(isDnsName(labels + "a".repeat(62)), false);
});

test("issues under no CA whose name would be written otherwise than it stands in its certificate", async () => {
  const library = await loadLibrary();
  const name = (value: Uint8Array) => sequence(setOfOne(sequence(oid("2.5.4.3"), value)));
  const refused = (der: Uint8Array) => {
    try {
      libraryName(library, der);
      return "taken";
    } catch (error) {
      return error instanceof IssueError ? error.problem : String(error);
    }
  };
  assert.is(refused(name(utf8String("a"))), "taken");
  assert.is(refused(name(derValue(0x1c, [Uint8Array.of(0, 1, 0xf6, 0)]))), "issuer-certificate"); // a UniversalString
});

test("draws serials of 20 octets, positive, each of its own", async () => {
  const pki = await makeTestPki({ at });
  const serials = await Promise.all(
    Array.from({ length: 64 }, async (_, index) => (await pki.node(`n${index}`)).serial),
  );
  assert.is(new Set(serials).size, 64);
  for (const serial of serials) assert.match(serial, /^[4-7][0-9a-f]{39}$/);
});

test("writes keys as PKCS#8 version 1, and certifies a key that is given", async () => {
  const root = await issueRoot({ commonName: "Root", ...period });
  const der = Buffer.from(root.keyPem.replace(/-----[^-]+-----|\s/g, ""), "base64");
  assert.is(der.subarray(0, 5).toString("hex"), "302e020100");
  const again = await issueRoot({ commonName: "Root", ...period, keyPem: root.keyPem });
  assert.is(again.keyPem, root.keyPem);
  assert.equal(parsed(again.der).publicKey, parsed(root.der).publicKey);
});

test("signs with a key of PKCS#8 version 2, as the existing tool writes them", async () => {
  const rows = JSON.parse(await readFile("tests/vectors/wire/certs.json", "utf8")) as { name: string; pem?: string }[];
  const keyPem = rows.find(({ pem }) => pem !== undefined)?.pem ?? "";
  const root = await issueRoot({ commonName: "Root", ...period, keyPem });
  assert.is(createPrivateKey(root.keyPem).asymmetricKeyType, "ed25519");
  const node = await issueNode({ issuer: { certPem: root.certPem, keyPem }, commonName: "n", ...period });
  assert.is(verdict([node.der], root.certPem), "accepted");
});

test("names the issuer as the existing tool's CA is named, octet by octet", async () => {
  const rows = JSON.parse(await readFile("tests/vectors/wire/certs.json", "utf8")) as { name: string; hex: string }[];
  const existing = parsed(Buffer.from(rows[0]!.hex, "hex"));
  const ours = parsed(
    (await issueRoot({ commonName: "Hypha CA", country: "US", organization: "Hypha", ...period })).der,
  );
  assert.equal(Buffer.from(ours.subject.der), Buffer.from(existing.subject.der));
});

const odd: [name: string, overrides: IssueOverrides, expected: string][] = [
  ["nothing odd", {}, "accepted"],
  ["another serial", { serial: Uint8Array.of(1) }, "accepted"],
  ["ECDSA P-256", { keyAlgorithm: "ecdsa-p256" }, "unsupported-key-algorithm"],
  ["RSA 2048", { keyAlgorithm: "rsa-2048" }, "unsupported-key-algorithm"],
  ["no extended key usage", { omit: ["extendedKeyUsage"] }, "accepted"],
  ["key usage keyAgreement alone", { keyUsage: ["keyAgreement"] }, "key-usage"],
  [
    "a critical extension that nobody knows",
    { add: [{ oid: "1.3.6.1.4.1.55555.1", critical: true, value: Uint8Array.of(5, 0) }] },
    "unknown-critical-extension",
  ],
];
for (const [name, overrides, expected] of odd) {
  test(`overrides: ${name}`, async () => {
    const pki = await makeTestPki({ at });
    const node = await pki.node("node-1", { overrides });
    assert.is(verdict(node.chain, pki.trustPem), expected);
  });
}

test("constrains names", async () => {
  const pki = await makeTestPki({ at });
  const permitted = [{ tag: 2 as const, content: Buffer.from("acme.example") }];
  const constrained = await issueIntermediate({
    issuer: pki.root,
    commonName: "Constrained",
    ...period,
    overrides: { add: [nameConstraints(permitted)] },
  });
  const chain = async (san: string) => {
    const { der } = await issueNode({ issuer: constrained, commonName: "n", san: [san], ...period });
    return [der, constrained.der];
  };
  assert.is(verdict(await chain("DNS:a.acme.example"), pki.trustPem), "accepted");
  assert.is(verdict(await chain("DNS:a.other.example"), pki.trustPem), "name-constraint");
});

test("signs under CAs of other algorithms", async () => {
  for (const keyAlgorithm of ["ecdsa-p256", "ecdsa-p384", "rsa-2048"] as const) {
    const root = await issueRoot({ commonName: "Root", ...period, overrides: { keyAlgorithm } });
    const node = await issueNode({ issuer: root, commonName: "n", ...period });
    const policy = { ...defaultPolicy, caAlgorithms: ["ecdsa-p256", "ecdsa-p384", "rsa"] as const };
    const made = makeTrustSnapshot({ trustPem: root.certPem, policy, generation: 1, at });
    const { snapshot } = Result.getOrThrow(made);
    assert.ok(Result.isSuccess(verifyPath([node.der], snapshot, { at })), keyAlgorithm);
  }
});

test("makes PEM that reads back", async () => {
  const root = await issueRoot({ commonName: "Root", ...period });
  assert.is(root.certPem, formatPem("CERTIFICATE", root.der));
  assert.ok(root.certPem.endsWith("-----END CERTIFICATE-----\n"));
});

test.run();
