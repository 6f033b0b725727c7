/** Names: what a server is called, what a common name may say beside it, and what CAs may speak for. */
import { Buffer } from "node:buffer";
import { constructed, derNull, oid, primitive, sequence } from "../../../pki/issue/der_writer.ts";
import { type DerNode, readTree, writeTree } from "../../../scripts/fuzz/der_tree.ts";
import type { Forged, ForgeOptions } from "../../support/forge.ts";
import {
  authority,
  type CaseOptions,
  constraints,
  extension,
  type OwnCase,
  rawNames,
  root,
  server,
  serverCase,
  user,
  userCase,
} from "../../support/limbo_world.ts";

const ca = root();
const dns = (...names: string[]): ForgeOptions => ({ san: names.map((name) => `DNS:${name}`) });
const ip = (address: string): ForgeOptions => ({ san: [`IP:${address}`] });

/** Takes everything out of the subject, which is the sixth field of a tbsCertificate. */
function emptySubject(tbs: Uint8Array): Uint8Array {
  const [tree] = readTree(tbs) as [DerNode];
  Object.assign(tree.children![5]!, { children: [], content: new Uint8Array() });
  return writeTree(tree);
}

const under = (
  id: string,
  permitted: string[],
  excluded: string[],
  leaf: ForgeOptions,
  code: string | null,
  name?: string,
) => {
  const issuer = authority(ca, { add: [constraints(permitted, excluded)] });
  const options = { others: [issuer], ...(name === undefined ? {} : { name }) };
  return serverCase(`nc::${id}`, [server(issuer, leaf), ca], code, options);
};
const outside = "name-constraint";

const constrained: readonly OwnCase[] = [
  under("permitted-address-mismatch", ["IP:192.0.2.0/24"], [], ip("192.0.3.1"), outside, "192.0.3.1"),
  under("excluded-address", [], ["IP:192.0.2.0/24"], ip("192.0.2.1"), outside, "192.0.2.1"),
  under("excluded-address-6", [], ["IP:::1/128"], ip("::1"), outside, "::1"),
  under("permitted-address-6", ["IP:2001:db8::/33"], [], ip("2001:db8:7fff::1"), null, "2001:db8:7fff::1"),
  under("permitted-address-6-mismatch", ["IP:2001:db8::/33"], [], ip("2001:db8:8000::1"), outside, "2001:db8:8000::1"),
  under("permitted-second", ["DNS:example.org", "DNS:example.com"], [], {}, null),
  under("excluded-second", [], ["DNS:bad.example.com"], dns("example.com", "bad.example.com"), outside),
  under(
    "permitted-suffix-only",
    ["DNS:example.com"],
    [],
    dns("notexample.com", "example.com"),
    outside,
    "notexample.com",
  ),
  under("invalid-name", ["DNS:example.com"], [], dns(".example.com", "example.com"), "malformed-certificate"),
  under("invalid-name-of-a-constraint", ["DNS:*.example.com"], [], dns("a.example.com"), outside, "a.example.com"),
  under("leading-period", ["DNS:.example.com"], [], dns("a.example.com"), outside, "a.example.com"),
  under(
    "wildcard-over-excluded",
    ["DNS:example.com"],
    ["DNS:bar.example.com"],
    dns("*.example.com"),
    outside,
    "bar.example.com",
  ),
  under("wildcard-over-permitted", ["DNS:foo.example.com"], [], dns("*.example.com"), outside, "foo.example.com"),
  under("wildcard-inside", ["DNS:example.com"], [], dns("*.example.com"), null, "a.example.com"),
  under("subject-outside", ["CN:somebody"], [], {}, outside),
  under("subject-inside", ["CN:Example.COM"], [], {}, null),
  under("subject-excluded", [], ["CN:example.com"], {}, outside),
];

const narrow = authority(ca, { add: [constraints(["DNS:permitted.example.com"], ["DNS:forbidden.example.com"])] });
const named = authority(narrow, { san: ["DNS:forbidden.example.com"] }, "lower");
const rollover = authority(ca, { add: [constraints(["DNS:example.com"])], san: ["DNS:example.org"] }, "example.org");
/** The same CA again, with a new key that its old one certified. */
const renewed = authority(rollover, { san: ["DNS:example.org"] }, rollover.name);
const chained: readonly OwnCase[] = [
  serverCase(
    "nc::intermediate-outside",
    [server(named, dns("permitted.example.com"), "permitted.example.com"), ca],
    outside,
    {
      others: [narrow, named],
      name: "permitted.example.com",
    },
  ),
  serverCase("nc::self-issued-intermediate-outside", [server(renewed), ca], null, {
    others: [rollover, renewed],
  }),
  serverCase("nc::self-issued-leaf-outside", [server(rollover, dns("example.org"), "example.org"), ca], outside, {
    others: [rollover],
    name: "example.org",
  }),
  serverCase(
    "nc::in-a-leaf-critical",
    [server(ca, { add: [constraints(["DNS:example.com"])] }), ca],
    "malformed-certificate",
  ),
  serverCase(
    "nc::empty",
    [server(authority(ca, { add: [extension("2.5.29.30", true, sequence())] })), ca],
    "unknown-issuer",
  ),
];

const mailUnder = (id: string, permitted: string[], mailboxes: string[], code: string | null) => {
  const issuer = authority(ca, { add: [constraints(permitted)] });
  return userCase(`nc::${id}`, [user(issuer, mailboxes), ca], code, { others: [issuer], mailboxes });
};
const mail: readonly OwnCase[] = [
  mailUnder("mailbox", ["email:foo@example.com"], ["foo@example.com"], null),
  mailUnder("another-mailbox", ["email:foo@example.com"], ["bar@example.com"], outside),
  mailUnder("mailboxes-of-a-host", ["email:example.com"], ["a@example.com", "b@example.com"], null),
  mailUnder("one-mailbox-of-three-malformed", ["email:example.com"], ["a@example.com", "b@c@example.com"], outside),
  mailUnder("asterisk-is-a-letter", ["email:*@example.com"], ["foo@example.com"], outside),
  mailUnder("malformed-constraint", ["email:a@b@example.com"], ["c@example.com"], outside),
];

const otherName = constructed(0, oid("1.3.6.1.4.1.55738.666.3"), constructed(0, derNull));
const called = (id: string, leaf: Forged, code: string | null, options: CaseOptions = {}) =>
  serverCase(`san::${id}`, [leaf, ca], code, options);
const san: readonly OwnCase[] = [
  called("exact", server(ca), null),
  called("other-case", server(ca), null, { name: "EXAMPLE.com" }),
  called("other-domain", server(ca), "name-mismatch", { name: "example2.com" }),
  called("below", server(ca), "name-mismatch", { name: "abc.example.com" }),
  called("above", server(ca, dns("abc.example.com")), "name-mismatch"),
  called("wildcard", server(ca, dns("*.example.com")), null, { name: "foo.example.com" }),
  called("wildcard-two-labels", server(ca, dns("*.example.com")), "name-mismatch", { name: "a.b.example.com" }),
  called("wildcard-apex", server(ca, dns("*.example.com")), "name-mismatch"),
  called("wildcard-public-suffix", server(ca, dns("*.com"), "com"), "name-mismatch"),
  called("wildcard-private-suffix", server(ca, dns("*.github.io"), "x"), "name-mismatch", { name: "a.github.io" }),
  called("wildcard-inside", server(ca, dns("foo.*.example.com")), "malformed-certificate", {
    name: "foo.a.example.com",
  }),
  called("wildcard-partial", server(ca, dns("ba*.example.com")), "malformed-certificate", { name: "baz.example.com" }),
  called("wildcard-alone", server(ca, dns("*")), "malformed-certificate", { name: "com" }),
  called("address", server(ca, ip("127.0.0.1")), null, { name: "127.0.0.1" }),
  called("address-6", server(ca, ip("2001:db8::1")), null, { name: "2001:0DB8:0::1" }),
  called("another-address", server(ca, ip("127.0.0.1")), "name-mismatch", { name: "127.0.0.2" }),
  called("address-as-host", server(ca, dns("8.8.8.8")), "malformed-certificate", { name: "8.8.8.8" }),
  called("unicode", server(ca, { add: [rawNames(false, [2, "😜.example.com"])] }), "malformed-certificate"),
  called("underscore", server(ca, dns("a_b.example.com")), "malformed-certificate", { name: "a_b.example.com" }),
  called("none", server(ca, { san: [] }), "malformed-certificate"),
  called("no-names-in-it", server(ca, { san: [], add: [rawNames(false)] }), "malformed-certificate"),
  called(
    "no-structure",
    server(ca, { san: [], add: [extension("2.5.29.17", false, Buffer.from("example.com"))] }),
    "malformed-certificate",
  ),
  called(
    "critical-beside-a-subject",
    server(ca, { san: [], add: [rawNames(true, [2, "example.com"])] }),
    "malformed-certificate",
  ),
  called("not-critical-without-a-subject", server(ca, { tbs: emptySubject }), "malformed-certificate"),
  called(
    "critical-without-a-subject",
    server(ca, {
      san: [],
      add: [rawNames(true, [2, "example.com"])],
      tbs: emptySubject,
    }),
    null,
  ),
  called(
    "another-kind-beside",
    server(ca, {
      san: [],
      add: [extension("2.5.29.17", false, sequence(primitive(2, Buffer.from("example.com")), otherName))],
    }),
    null,
  ),
];

const subjects: [commonName: string, names: ForgeOptions, code: string | null][] = [
  ["192.168.001.001", ip("192.168.1.1"), "malformed-certificate"],
  ["0xC0A80101", ip("192.168.1.1"), "malformed-certificate"],
  ["192.168.1.1", ip("192.168.1.1"), null],
  ["2001:DB8::1", ip("2001:db8::1"), "malformed-certificate"],
  ["2001:0db8:0:0:0:0:0:1", ip("2001:db8::1"), "malformed-certificate"],
  ["2001:db8:0:0:1:0:0:1", ip("2001:db8::1:0:0:1"), "malformed-certificate"],
  ["2001:db8::1:0:0:1", ip("2001:db8::1:0:0:1"), null],
  ["example.com", ip("192.168.1.1"), null],
  ["xn--nxasmq6b.com", dns("xn--n3h.com"), "malformed-certificate"],
  ["test-測試.com", dns("xn--test--wg5h0h.com"), "malformed-certificate"],
  ["Example.COM", dns("example.com"), "malformed-certificate"],
  ["EE", dns("example.com"), null],
];
const common = subjects.map(([commonName, names, code]) => {
  const [, name] = /^(?:DNS|IP):(.*)$/.exec(names.san![0]!) as unknown as [string, string];
  return serverCase(`cn::${commonName}`, [server(ca, names, commonName), ca], code, { name });
});
/** Another suite in this one has certificates that name somebody else in their common name, and wants them accepted. */
const strangerNamed = serverCase(
  "cn::stranger",
  [server(ca, dns("test.localhost"), "bad.example.com"), ca],
  "malformed-certificate",
  { name: "test.localhost", suite: "SUCCESS" },
);

export const nameCases: readonly OwnCase[] = [...constrained, ...chained, ...mail, ...san, ...common, strangerNamed];
