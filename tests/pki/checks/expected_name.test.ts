import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { primitive, sequence } from "../../../pki/issue/der_writer.ts";
import { checkName, checkWellFormed, type ExpectedName, verifyPath } from "../../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../../pki/trust.ts";
import { at, forge } from "../../support/forge.ts";

const test = suite("checkName()");

/** A certificate with DNS names and addresses as they are given, proper or not. */
function named(dns: readonly string[], addresses: readonly number[][] = [], emails: readonly string[] = []) {
  const names = [
    ...emails.map((email) => primitive(1, Buffer.from(email))),
    ...dns.map((name) => primitive(2, Buffer.from(name))),
    ...addresses.map((octets) => primitive(7, Uint8Array.from(octets))),
  ];
  const add = names.length === 0 ? [] : [{ oid: "2.5.29.17", critical: false, value: sequence(...names) }];
  return Result.getOrThrow(checkWellFormed([forge("example.com", { add }).der]));
}

const ip6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
const zeros = (octets: number): number[] => Array.from({ length: octets }, () => 0);
const loopback = [...zeros(15), 1];
const dns = (value: string): ExpectedName => ({ type: "dns", value });
const ip = (value: string): ExpectedName => ({ type: "ip", value });
const email = (value: string): ExpectedName => ({ type: "email", value });
const cases: [name: string, of: ReturnType<typeof named>, expected: ExpectedName, matches: boolean][] = [
  ["the same name", named(["a.example.com"]), dns("a.example.com"), true],
  ["letter case, and a final dot", named(["A.Example.com"]), dns("a.eXample.com."), true],
  ["the second of two", named(["x.example", "a.example.com"]), dns("a.example.com"), true],
  ["a name below", named(["example.com"]), dns("a.example.com"), false],
  ["a name above", named(["a.example.com"]), dns("example.com"), false],
  ["the common name alone", named([]), dns("example.com"), false],
  ["a wildcard for one label", named(["*.example.com"]), dns("a.example.com"), true],
  ["a wildcard for two labels", named(["*.example.com"]), dns("a.b.example.com"), false],
  ["a wildcard for none", named(["*.example.com"]), dns("example.com"), false],
  ["a wildcard inside of a label", named(["a*.example.com"]), dns("ab.example.com"), false],
  ["a wildcard that is not the leftmost label", named(["a.*.com"]), dns("a.example.com"), false],
  ["two wildcards", named(["*.*.com"]), dns("a.example.com"), false],
  ["a wildcard alone", named(["*"]), dns("example"), false],
  ["a wildcard below a top-level domain", named(["*.com"]), dns("example.com"), false],
  ["an expected wildcard", named(["*.example.com"]), dns("*.example.com"), false],
  ["an address in a DNS name", named(["192.0.2.1"]), ip("192.0.2.1"), false],
  ["a wildcard for an address", named(["*.0.2.1"]), ip("192.0.2.1"), false],
  ["an address", named([], [[192, 0, 2, 1]]), ip("192.0.2.1"), true],
  ["another address", named([], [[192, 0, 2, 1]]), ip("192.0.2.2"), false],
  ["an address in any notation", named([], [ip6]), ip("2001:DB8:0:0:1::1"), true],
  ["an IPv6 address with an IPv4 end", named([], [ip6]), ip("2001:db8::1:0:0.0.0.1"), true],
  ["an IPv6 address that differs", named([], [ip6]), ip("2001:db8::1"), false],
  ["a mailbox", named([], [], ["user@Example.com"]), email("user@example.COM"), true],
  [
    "a mailbox whose local part is written otherwise",
    named([], [], ["User@example.com"]),
    email("user@example.com"),
    false,
  ],
  ["a mailbox at another host", named([], [], ["user@example.com"]), email("user@example.org"), false],
  [
    "a mailbox at a host that differs at its begin",
    named([], [], ["user@example.com"]),
    email("user@xxample.com"),
    false,
  ],
  ["a mailbox without a local part", named([], [], ["@example.com"]), email("@example.com"), false],
  ["nothing", named([]), email(""), false],
  ["the loopback address written out", named([], [loopback]), ip("0:0:0:0:0:0:0:1"), true],
  ["the loopback address in short", named([], [loopback]), ip("::1"), true],
  ["a longer group that begins alike", named([], [loopback]), ip("::1f"), false],
  ["a group that is no number", named([], [[0, 1, ...zeros(14)]]), ip("1g::"), false],
  ["an address that ends in zeros", named([], [[0, 1, ...zeros(14)]]), ip("1::"), true],
  ["an address that lacks its zeros", named([], [[0, 1, 0, 2, ...zeros(12)]]), ip("1:2"), false],
  ["an IPv4 address in an IPv6 one", named([], [[...zeros(10), 255, 255, 1, 2, 3, 4]]), ip("::ffff:1.2.3.4"), true],
  ["the same in groups", named([], [[...zeros(10), 255, 255, 1, 2, 3, 4]]), ip("::ffff:102:304"), true],
  ["an IPv4 address written as groups", named([], [[192, 0, 2, 1]]), ip("c000:201"), false],
];
for (const [name, of, expected, matches] of cases) {
  test(`${matches ? "takes" : "refuses"} ${name}`, () => {
    const outcome = checkName(of, expected);
    assert.is(Result.isSuccess(outcome) || outcome.failure.code, matches || "name-mismatch");
  });
}

test("takes no wildcard below a public suffix that the caller knows", () => {
  const isPublicSuffix = (domain: string) => domain === "co.uk";
  const ask = (presented: string, value: string) =>
    Result.isSuccess(checkName(named([presented]), { type: "dns", value, isPublicSuffix }));
  assert.not.ok(ask("*.co.uk", "example.co.uk"));
  assert.ok(ask("*.example.co.uk", "a.example.co.uk"));
});

test("is asked by verifyPath only where the caller expects a name", () => {
  const root = forge("root", { ca: true });
  const leaf = forge("leaf", { issuer: root, san: ["DNS:leaf.example"] });
  const trust = { trustPem: root.pem, policy: defaultPolicy, generation: 1, at };
  const { snapshot } = Result.getOrThrow(makeTrustSnapshot(trust));
  const evaluate = (expectedName?: ExpectedName) => {
    const outcome = verifyPath([leaf.der], snapshot, { at, expectedName });
    return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
  };
  assert.is(evaluate(), "accepted");
  assert.is(evaluate(dns("leaf.example")), "accepted");
  assert.is(evaluate(dns("leaf")), "name-mismatch");
});

test.run();
