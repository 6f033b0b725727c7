import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { constructed, oid, primitive, sequence, utf8String } from "../../pki/issue/der_writer.ts";
import { extendedKeyUsage, type Extension, keyUsage, subjectKeyId } from "../../pki/issue/extensions.ts";
import { verifyPath } from "../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import { at, forge, type ForgeOptions } from "../support/forge.ts";

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
const points = (...kinds: number[]): Extension => ({
  oid: "2.5.29.31",
  critical: false,
  value: sequence(
    sequence(constructed(0, constructed(0, ...kinds.map((kind) => primitive(kind, Buffer.from("http://a")))))),
  ),
});

interface Odd {
  readonly name?: string;
  readonly leaf?: ForgeOptions;
  readonly middle?: ForgeOptions;
  readonly root?: ForgeOptions;
}

function judge({ name = "a.example", ...odd }: Odd, web = true): string {
  const root = forge("root", { ca: true, ...odd.root });
  const middle = forge("middle", { ca: true, issuer: root, ...odd.middle });
  const leaf = forge(name, { issuer: middle, add: [server, names("a.example")], ...odd.leaf });
  const rules = web ? policy : { ...policy, webPki: "ignore" as const };
  const made = makeTrustSnapshot({ trustPem: root.pem, policy: rules, generation: 1, at });
  const outcome = verifyPath([leaf.der, middle.der], Result.getOrThrow(made).snapshot, { at });
  return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
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
  ["one in hexadecimal", { name: "0xc0000201", leaf: { add: [server, names("a.example")] } }, "malformed-certificate"],
];
for (const [name, odd, verdict] of cases) {
  test(`${verdict === "accepted" ? "accepts" : "refuses"} ${name}`, () => {
    assert.is(judge(odd), verdict);
    assert.is(judge(odd, false), "accepted");
  });
}

test("refuses keyCertSign without a CA, in every profile", () => {
  assert.is(
    judge({ leaf: { add: [server, names("a.example"), keyUsage(["digitalSignature", "keyCertSign"])] } }, false),
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
  const leaf = (added: Extension) => judge({ leaf: { add: [server, names("a.example"), added] } }, false);
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
