import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { constructed, integer, oid, primitive, sequence, utf8String } from "../../../pki/issue/der_writer.ts";
import { extendedKeyUsage, type Extension, keyUsage, subjectKeyId } from "../../../pki/issue/extensions.ts";
import { verifyPath } from "../../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot, type Policy } from "../../../pki/trust.ts";
import { at, forge, type ForgeListOptions, forgeListPem, type ForgeOptions } from "../../support/forge.ts";

const test = suite("rules of the Web PKI");

const serverAuth = "1.3.6.1.5.5.7.3.1";
const policy = { ...defaultPolicy, webPki: "require", purposes: [serverAuth], roles: "ignore" } as const;
const key = (last: number) => new Uint8Array(20).fill(last);
const authority = (...parts: Uint8Array[]): Extension => ({
  oid: "2.5.29.35",
  critical: false,
  value: sequence(...parts),
});
const critical = (extension: Extension): Extension => ({ ...extension, critical: true });
const server: Extension = extendedKeyUsage([serverAuth]);
const names = (...dns: string[]): Extension => ({
  oid: "2.5.29.17",
  critical: false,
  value: sequence(...dns.map((name) => primitive(2, Buffer.from(name)))),
});

const serverAnd = (other: string): Extension => extendedKeyUsage([serverAuth, other]);
/** One distribution point, with a name of each of these kinds. */
const pointNames = (...kinds: number[]): Uint8Array =>
  constructed(0, constructed(0, ...kinds.map((kind) => primitive(kind, Buffer.from("http://a")))));
const points = (...kinds: number[]): Extension => ({
  oid: "2.5.29.31",
  critical: false,
  value: sequence(sequence(pointNames(...kinds))),
});

interface Odd {
  readonly name?: string;
  readonly leaf?: ForgeOptions;
  readonly middle?: ForgeOptions;
  readonly root?: ForgeOptions;
}

const evaluate = (odd: Odd, web = true): string =>
  codeOf(verify(odd, web ? policy : { ...policy, webPki: "ignore" as const }));

const codeOf = (outcome: ReturnType<typeof verify>): string =>
  Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;

function verify({ name = "a.example", ...odd }: Odd, rules: Policy, lists: readonly ForgeListOptions[] = []) {
  const root = forge("root", { ca: true, ...odd.root });
  const middle = forge("middle", { ca: true, issuer: root, ...odd.middle });
  const leaf = forge(name, { issuer: middle, add: [server, names("a.example")], ...odd.leaf });
  const listed = lists.map((options) => forgeListPem(middle, options)).join("");
  const crlsPem = lists.length === 0 ? undefined : forgeListPem(root) + listed;
  const made = makeTrustSnapshot({ trustPem: root.pem, crlsPem, policy: rules, generation: 1, at });
  return verifyPath([leaf.der, middle.der], Result.getOrThrow(made).snapshot, { at });
}

const keyUsageOid = "2.5.29.15";
const cases: [name: string, odd: Odd, verdict: string][] = [
  ["what has all it needs", {}, "accepted"],
  ["a root with purposes", { root: { add: [server] } }, "extended-key-usage"],
  ["an intermediate with purposes", { middle: { add: [server] } }, "accepted"],
  ["critical purposes", { middle: { add: [critical(server)] } }, "extended-key-usage"],
  [
    "a server of any purpose",
    { leaf: { add: [extendedKeyUsage(["2.5.29.37.0"]), names("a.example")] } },
    "extended-key-usage",
  ],
  ["a server without purposes", { leaf: { add: [names("a.example")], omit: ["2.5.29.37"] } }, "extended-key-usage"],
  [
    "a server that signs code",
    { leaf: { add: [serverAnd("1.3.6.1.5.5.7.3.3"), names("a.example")] } },
    "extended-key-usage",
  ],
  [
    "a server that signs mail",
    { leaf: { add: [serverAnd("1.3.6.1.5.5.7.3.4"), names("a.example")] } },
    "extended-key-usage",
  ],
  [
    "a server that stamps times",
    { leaf: { add: [serverAnd("1.3.6.1.5.5.7.3.8"), names("a.example")] } },
    "extended-key-usage",
  ],
  [
    "a server that answers OCSP",
    { leaf: { add: [serverAnd("1.3.6.1.5.5.7.3.9"), names("a.example")] } },
    "extended-key-usage",
  ],
  [
    "a server of precertificates",
    { leaf: { add: [serverAnd("1.3.6.1.4.1.11129.2.4.4"), names("a.example")] } },
    "extended-key-usage",
  ],
  [
    "a server that is a client too",
    { leaf: { add: [serverAnd("1.3.6.1.5.5.7.3.2"), names("a.example")] } },
    "accepted",
  ],
  ["a CA without key usage (RFC 5280 §6.1.4 n)", { middle: { omit: [keyUsageOid] } }, "accepted"],
  ["a distribution point that is a URI", { leaf: { add: [server, names("a.example"), points(6)] } }, "accepted"],
  ["one that is a host", { leaf: { add: [server, names("a.example"), points(6, 2)] } }, "malformed-certificate"],
  [
    "a root whose authority is itself",
    { root: { add: [subjectKeyId(key(1)), authority(primitive(0, key(1)))] } },
    "accepted",
  ],
  [
    "a root whose authority is another",
    { root: { add: [subjectKeyId(key(1)), authority(primitive(0, key(2)))] } },
    "malformed-certificate",
  ],
  ["an authority with a serial", {
    middle: { add: [authority(primitive(0, key(1)), constructed(1, primitive(2, key(1))), primitive(2, key(1)))] },
  }, "malformed-certificate"],
  [
    "an authority without a key",
    { leaf: { add: [server, names("a.example"), authority()] } },
    "malformed-certificate",
  ],
  ["no alternative name", { leaf: { add: [server] } }, "malformed-certificate"],
  [
    "critical names beside a subject",
    { leaf: { add: [server, critical(names("a.example"))] } },
    "malformed-certificate",
  ],
  ["an underscore", { name: "a_b.example", leaf: { add: [server, names("a_b.example")] } }, "malformed-certificate"],
  [
    "a wildcard inside of a label",
    { leaf: { add: [server, names("a.example", "b*.example")] } },
    "malformed-certificate",
  ],
  ["a wildcard label", { leaf: { add: [server, names("a.example", "*.b.example")] } }, "accepted"],
  ["an address for a name", { leaf: { add: [server, names("a.example", "192.0.2.1")] } }, "malformed-certificate"],
  [
    "a common name that is none of them",
    { name: "b.example", leaf: { add: [server, names("a.example")] } },
    "malformed-certificate",
  ],
  [
    "a common name in other letters",
    { name: "A.example", leaf: { add: [server, names("a.example")] } },
    "malformed-certificate",
  ],
  ["a common name above one of them", { name: "example", leaf: { add: [server, names("a.example")] } }, "accepted"],
  [
    "a common name that is an address",
    { name: "192.0.2.1", leaf: { add: [server, names("a.example")] } },
    "malformed-certificate",
  ],
  ["a host above addresses alone", { leaf: { add: [server], san: ["IP:192.0.2.1"] } }, "accepted"],
  [
    "what is no host above addresses alone",
    { name: "a_b.example", leaf: { add: [server], san: ["IP:192.0.2.1"] } },
    "malformed-certificate",
  ],
  ["one in hexadecimal", { name: "0xc0000201", leaf: { add: [server, names("a.example")] } }, "malformed-certificate"],
];
for (const [name, odd, verdict] of cases) {
  test(`${verdict === "accepted" ? "accepts" : "refuses"} ${name}`, () => {
    assert.is(evaluate(odd), verdict);
    assert.is(evaluate(odd, false), "accepted");
  });
}

test("says which certificate has what form, and what it claims", () => {
  const refused = (odd: Odd) => {
    const outcome = verify(odd, policy);
    if (Result.isSuccess(outcome)) return "accepted";
    const { failure } = outcome;
    if (failure._tag === "MalformedCertificate") return failure.index;
    return failure._tag === "ExtendedKeyUsage" ? `${failure.certificate.subject}: ${failure.needed}` : failure.code;
  };
  const host = points(2);
  assert.is(refused({ leaf: { add: [server, names("a.example"), host] } }), 0);
  assert.is(refused({ middle: { add: [host] } }), 1);
  assert.is(refused({ root: { add: [host] } }), 1);
  const code = { leaf: { add: [serverAnd("1.3.6.1.5.5.7.3.3"), names("a.example")] } };
  assert.is(
    refused(code),
    "CN=a.example: restraint: a server must not claim codeSigning (BR 7.1.2.7.10)",
  );
});

test("asks a client for no name and no purposes, and knows no rules for anybody else", () => {
  const [clientAuth, emailProtection] = ["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.4"];
  const evaluated = (purposes: readonly string[], leaf: ForgeOptions) =>
    codeOf(verify({ leaf }, { ...policy, purposes }));
  const both = { add: [extendedKeyUsage([clientAuth, emailProtection])] };
  assert.is(evaluated([clientAuth], { add: [], omit: ["2.5.29.37"] }), "accepted");
  assert.is(evaluated([clientAuth], both), "accepted");
  assert.is(evaluated([clientAuth, emailProtection], both), "extended-key-usage");
  assert.is(evaluated([emailProtection], both), "extended-key-usage");
});

const scope = (...kinds: number[]): Extension => ({
  oid: "2.5.29.28",
  critical: true,
  value: sequence(pointNames(...kinds)),
});
const change = (options: ForgeListOptions = {}): ForgeListOptions => ({
  number: 6n,
  ...options,
  add: [{ oid: "2.5.29.27", critical: true, value: integer(5) }, ...options.add ?? []],
});
const complete = (options: ForgeListOptions = {}): ForgeListOptions => ({ number: 5n, ...options });
const [host, twice] = ["by something else than a URI", "serial number 7e is listed twice"];
const lists: [name: string, lists: ForgeListOptions[], problem?: string][] = [
  ["a list", [complete({ revoked: ["7d", "7e"] })]],
  ["a list and its delta", [complete(), change({ revoked: ["7d", "7e"] })]],
  ["a list of a distribution point that is a URI", [complete({ add: [scope(6)] })]],
  ["a list of one that is a host too", [complete({ add: [scope(6, 2)] })], host],
  ["a list of one serial twice", [complete({ revoked: ["7e", "7d", "7e"] })], twice],
  ["a delta of one serial twice", [complete(), change({ revoked: ["7e", "7e"] })], twice],
  ["a delta of one serial twice, on such a list", [complete({ revoked: ["7e", "7e"] }), change()], twice],
];
for (const [name, given, problem] of lists) {
  test(`${problem === undefined ? "accepts" : "refuses"} ${name}`, () => {
    const odd = { leaf: { add: [server, names("a.example"), points(6)] } };
    assert.is(codeOf(verify(odd, { ...policy, webPki: "ignore" }, given)), "accepted");
    const outcome = verify(odd, policy, given);
    if (problem === undefined) return void assert.is(codeOf(outcome), "accepted");
    assert.is(codeOf(outcome), "crl-malformed");
    assert.match(Result.isFailure(outcome) ? outcome.failure.message : "", problem);
  });
}

test("refuses keyCertSign without a CA, in every profile", () => {
  assert.is(
    evaluate({ leaf: { add: [server, names("a.example"), keyUsage(["digitalSignature", "keyCertSign"])] } }, false),
    "key-usage",
  );
});

test("processes certificate policies and information access: well formed, and no more", () => {
  const extension = (identifier: string, value: Uint8Array, isCritical: boolean): Extension => ({
    oid: identifier,
    critical: isCritical,
    value,
  });
  const policies = (...oids: string[]) =>
    extension("2.5.29.32", sequence(...oids.map((each) => sequence(oid(each)))), true);
  const access = (isCritical: boolean, ...parts: Uint8Array[]) =>
    extension("1.3.6.1.5.5.7.1.1", sequence(...parts), isCritical);
  const good = sequence(oid("1.3.6.1.5.5.7.48.1"), primitive(6, Buffer.from("http://ocsp.example")));
  const leaf = (added: Extension) => evaluate({ leaf: { add: [server, names("a.example"), added] } }, false);
  assert.is(leaf(policies("1.2.3", "2.23.140.1.2.1")), "accepted");
  assert.is(leaf(policies("1.2.3", "1.2.3")), "malformed-certificate");
  assert.is(leaf(policies()), "malformed-certificate");
  assert.is(leaf(access(false, good)), "accepted");
  assert.is(leaf(access(true, good)), "malformed-certificate");
  assert.is(leaf(access(false)), "malformed-certificate");
  assert.is(leaf(access(false, utf8String("noise"))), "malformed-certificate");
  assert.is(leaf(extension("2.5.29.36", sequence(primitive(0, Uint8Array.of(0))), true)), "unknown-critical-extension");
});

test.run();
