/** `[membership]` in a configuration: what is read, its defaults, and what is refused. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type ConfigOf, parseConfig } from "../../actors/config/load.ts";
import { readOrigin } from "../../actors/config/membership_schema.ts";
import { type ConfigError, describeProblem } from "../../actors/config/problem.ts";
import type { Surroundings } from "../../actors/config/sources.ts";

const head = `cert_pem = "c.pem"
key_pem = "k.pem"
trust_pem = "t.pem"
listen_addresses = ["/ip4/0.0.0.0/tcp/4001"]
external_addresses = ["/dns4/gw.lab/tcp/4001"]
`;
const nothing: Surroundings = { environment: {}, flags: {} };

const parse = (text: string, around = nothing): Result.Result<ConfigOf<"gateway">, ConfigError> =>
  parseConfig("gateway", { file: "g.toml", text: head + text }, around);
const table = (lines: string) => `[membership]\nca = ["https://ca.lab:8443"]\n${lines}\n`;
const membershipOf = (text: string, around = nothing) => Result.getOrThrow(parse(text, around)).membership;

const test = suite("[membership]");

test("is undefined where the file has no such table", () => {
  assert.is(membershipOf(""), undefined);
});

test("has defaults, and fetches lists where the CAs are", () => {
  assert.equal(membershipOf(table("")), {
    ca: ["https://ca.lab:8443"],
    renew: true,
    key: "same",
    newKeyEveryMs: undefined,
    identityKey: undefined,
    identityCertPem: undefined,
    crls: "optional",
    crlUrls: ["https://ca.lab:8443"],
  });
});

test("is read whole", () => {
  const lines =
    'renew = false\nnew_key_every = "30d"\ncrls = "required"\ncrl_urls = ["http://gw.lab", "https://[::1]:1"]\n' +
    'identity_key = "pkcs11:token=a;object=b?module-path=/c.so"\nidentity_cert_pem = "identity.pem"';
  assert.equal(membershipOf(table(lines)), {
    ca: ["https://ca.lab:8443"],
    renew: false,
    key: "same",
    newKeyEveryMs: 30 * 86_400_000,
    identityKey: "pkcs11:token=a;object=b?module-path=/c.so",
    identityCertPem: "identity.pem",
    crls: "required",
    crlUrls: ["http://gw.lab", "https://[::1]:1"],
  });
});

test("is read from the environment and from flags", () => {
  const environment = { HYPHA_MEMBERSHIP__CA: "https://a.lab,https://b.lab:1", HYPHA_MEMBERSHIP__RENEW: "false" };
  const read = membershipOf("", { environment, flags: { "membership-key": "new" } });
  assert.equal([read?.ca, read?.renew, read?.key], [["https://a.lab", "https://b.lab:1"], false, "new"]);
});

const wrong: [name: string, text: string, expected: RegExp][] = [
  [
    "the key of an identity without its certificate",
    table('identity_key = "pkcs11:token=a;object=b?module-path=/c.so"'),
    /identity_key: is there without identity_cert_pem/,
  ],
  [
    "the certificate of an identity without its key",
    table('identity_cert_pem = "a.pem"'),
    /identity_cert_pem: is there without identity_key/,
  ],
  ["a key that is no URI", table('identity_key = "key.pem"\nidentity_cert_pem = "a.pem"'), /identity_key/],
  ["a table without a CA", "[membership]\nrenew = true\n", /membership\.ca: is missing/],
  ["no CA", "[membership]\nca = []\n", /expected a list of 1 to 16 URLs/],
  ["a CA without TLS", '[membership]\nca = ["http://ca.lab"]\n', /does not begin with https:\/\/ and a host/],
  ["a path behind the CA", '[membership]\nca = ["https://ca.lab/est"]\n', /is not in the form https:\/\/ca\.lab/],
  ["a credential", '[membership]\nca = ["https://a:b@ca.lab"]\n', /is not in the form/],
  ["another form", '[membership]\nca = ["https://CA.lab:443"]\n', /is not in the form https:\/\/ca\.lab/],
  ["no URL", '[membership]\nca = ["ca.lab:8443"]\n', /does not begin with https/],
  ["lists by FTP", table('crl_urls = ["ftp://gw.lab"]'), /does not begin with https:\/\/ or http:\/\//],
  ["another word for the key", table('key = "fresh"'), /expected one of "same", "new"/],
  ["another word for lists", table('crls = "require"'), /perhaps "required"/],
  ["no duration", table('new_key_every = "soon"'), /is no number with s, m, h or d/],
  ["a key of minutes", table('new_key_every = "59m"'), /is not between 1h and 397d/],
  ["a key of years", table('new_key_every = "398d"'), /is not between 1h and 397d/],
  ["a new key twice", table('key = "new"\nnew_key_every = "30d"'), /new_key_every: has no effect with key = "new"/],
  ["an unknown key", table("renewal = true"), /renewal/],
];
for (const [name, text, expected] of wrong) {
  test(`refuses ${name}`, () => {
    const parsed = parse(text);
    assert.match(Result.isFailure(parsed) ? parsed.failure.problems.map(describeProblem).join("\n") : "read", expected);
  });
}

for (const every of ["1h", "60m", "397d"]) {
  test(`takes new_key_every = "${every}"`, () => {
    assert.type(membershipOf(table(`new_key_every = "${every}"`))?.newKeyEveryMs, "number");
  });
}

test("an origin has one form", () => {
  for (const text of ["https://ca.lab", "https://ca.lab:8443", "https://127.0.0.1:1", "https://[::1]:8443"]) {
    assert.instance(readOrigin(text, "https"), URL, text);
  }
  for (const text of ["", "https://", "https://ca.lab/", "https://ca.lab:", "https://ca.lab?x", " https://ca.lab"]) {
    assert.type(readOrigin(text, "https"), "string", text);
  }
});

test.run();
