import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type Certificate, parseCertificate, type SubjectAltName } from "../../../pki/certificate.ts";
import { type ComparisonBudget, nameComparisonsMax, refuseNames } from "../../../pki/checks/name_constraints.ts";
import { nameConstraints, type Subtree } from "../../../pki/issue/extensions.ts";
import {
  constructed,
  derValue,
  oid,
  primitive,
  sequence,
  setOfOne,
  utf8String,
} from "../../../pki/issue/der_writer.ts";
import { verifyPath } from "../../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../../pki/trust.ts";
import { at, encodeCommonName, forge, type Forged, type ForgeOptions } from "../../support/forge.ts";

const test = suite("name constraints");

const root = forge("root", { ca: true });
const { snapshot } = Result.getOrThrow(
  makeTrustSnapshot({ trustPem: root.pem, policy: defaultPolicy, generation: 1, at }),
);

function evaluate(...chain: Forged[]): string {
  const outcome = verifyPath(chain.map(({ der }) => der), snapshot, { at });
  return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
}

/** `DNS:x`, `URI:x`, `email:x`, `IP:` octets with mask in hexadecimal, or `CN:x`. */
function subtree(text: string): Subtree {
  const colon = text.indexOf(":");
  const value = text.slice(colon + 1);
  switch (text.slice(0, colon)) {
    case "DNS":
      return { tag: 2, content: Buffer.from(value) };
    case "URI":
      return { tag: 6, content: Buffer.from(value) };
    case "email":
      return { tag: 1, content: Buffer.from(value) };
    case "IP":
      return { tag: 7, content: Buffer.from(value, "hex") };
    default:
      return { tag: 4, content: encodeCommonName(value) };
  }
}

function underCa(permitted: string[], excluded: string[], options: ForgeOptions & { name?: string }): string {
  const add = [nameConstraints(permitted.map(subtree), excluded.map(subtree))];
  const ca = forge("ca", { ca: true, issuer: root, add });
  return evaluate(forge(options.name ?? "node", { issuer: ca, ...options }), ca);
}

const rows: [name: string, permitted: string[], excluded: string[], san: string[], expected: boolean][] = [
  ["a name that is permitted", ["DNS:a.example"], [], ["DNS:a.example"], true],
  ["a name below it, in other letter case", ["DNS:a.example"], [], ["DNS:X.A.Example"], true],
  ["a name that only ends like it", ["DNS:a.example"], [], ["DNS:xa.example"], false],
  ["a name above it", ["DNS:a.example"], [], ["DNS:example"], false],
  ["one name of two outside", ["DNS:a.example"], [], ["DNS:a.example", "DNS:b.example"], false],
  ["a name under the second of two", ["DNS:a.example", "DNS:b.example"], [], ["DNS:b.example"], true],
  ["no name of the kind", ["DNS:a.example"], [], ["IP:10.0.0.1"], true],
  ["no alternative name", ["DNS:a.example"], [], [], true],
  ["a wildcard that is permitted", ["DNS:a.example"], [], ["DNS:*.a.example"], true],
  ["a wildcard wider than permitted", ["DNS:x.a.example"], [], ["DNS:*.a.example"], false],
  ["a name that is no host name", ["DNS:a.example"], [], ["DNS:Node One"], false],
  ["a name that is no host name, where others are excluded", [], ["DNS:a.example"], ["DNS:Node One"], false],
  ["a name that is no host name, where everything is permitted", ["DNS:"], [], ["DNS:Node One"], false],
  ["a name with a dot at its end", ["DNS:a.example"], [], ["DNS:a.example."], false],
  ["everything permitted", ["DNS:"], [], ["DNS:a.example"], true],
  ["a constraint with a leading dot", ["DNS:.a.example"], [], ["DNS:x.a.example"], false],
  ["an excluded name", [], ["DNS:a.example"], ["DNS:x.a.example"], false],
  ["a name beside an excluded one", [], ["DNS:a.example"], ["DNS:b.example"], true],
  ["a wildcard over an excluded name", [], ["DNS:x.a.example"], ["DNS:*.a.example"], false],
  ["a wildcard beside an excluded name", [], ["DNS:x.b.example"], ["DNS:*.a.example"], true],
  ["a wildcard above a deeper excluded name", [], ["DNS:y.x.a.example"], ["DNS:*.a.example"], true],
  ["a name above an excluded one", [], ["DNS:x.a.example"], ["DNS:a.example"], true],
  ["an excluded host that is no host name", [], ["URI:-x-"], ["URI:spiffe://acme/worker/a"], false],
  ["permitted, but excluded too", ["DNS:example"], ["DNS:a.example"], ["DNS:a.example"], false],
  ["an excluded constraint that is no host name", [], ["DNS:.a.example"], ["DNS:b.example"], false],
  ["a host that is permitted in a URI", ["URI:acme"], [], ["URI:spiffe://acme/worker/a"], true],
  ["another host", ["URI:acme"], [], ["URI:spiffe://other/worker/a"], false],
  ["a host below, of a constraint without dot", ["URI:acme"], [], ["URI:spiffe://x.acme/worker/a"], false],
  ["a host below, of a constraint with dot", ["URI:.acme"], [], ["URI:spiffe://x.acme/worker/a"], true],
  ["the host itself, of a constraint with dot", ["URI:.acme"], [], ["URI:spiffe://acme/worker/a"], false],
  ["an excluded host in a URI", [], ["URI:acme"], ["URI:spiffe://acme/worker/a"], false],
  ["a host that hides behind user information", [], ["URI:evil"], ["URI:spiffe://good@evil/worker/a"], false],
  ["a URI without a host", [], ["URI:evil"], ["URI:urn:x:y"], false],
  ["a mailbox that is permitted", ["email:a@b.example"], [], ["email:a@B.example"], true],
  ["the mailbox in other letter case", ["email:a@b.example"], [], ["email:A@b.example"], false],
  ["a mailbox of a host", ["email:b.example"], [], ["email:x@b.example"], true],
  ["a mailbox of a host below", ["email:b.example"], [], ["email:x@y.b.example"], false],
  ["a mailbox below, with dot", ["email:.b.example"], [], ["email:x@y.b.example"], true],
  ["the mailbox at another host", ["email:a@b.example"], [], ["email:a@c.example"], false],
  ["a mailbox at no host name", [], ["email:b.example"], ["email:a@-c"], false],
  ["a mailbox without a local part", [], ["email:b.example"], ["email:@c.example"], false],
  ["an excluded constraint without a local part, which once excluded nobody", [], ["email:@b.example"], [
    "email:x@c.example",
  ], false],
  ["an address for a host", [], ["URI:acme"], ["URI:http://10.0.0.1/"], false],
  ["a host that is no host name", [], ["URI:acme"], ["URI:http://-a/"], false],
  ["an address with two ats", ["email:b.example"], [], ["email:x@y@b.example"], false],
  ["an address inside of a network", ["IP:0a000000ff000000"], [], ["IP:10.1.2.3"], true],
  ["an address outside", ["IP:0a000000ff000000"], [], ["IP:11.0.0.1"], false],
  ["the last address of a network", ["IP:0a000000fffffff0"], [], ["IP:10.0.0.15"], true],
  ["the first behind it", ["IP:0a000000fffffff0"], [], ["IP:10.0.0.16"], false],
  ["an IPv6 address under an IPv4 network", ["IP:0000000000000000"], [], ["IP:::1"], false],
  ["an excluded address", [], ["IP:0a000000ff000000"], ["IP:10.1.2.3"], false],
  ["a subject that is permitted, whatever its spaces", ["CN:node  X"], [], [], true],
  ["another subject", ["CN:somebody"], [], [], false],
  ["an excluded subject, in other letter case", [], ["CN:NODE x"], [], false],
];

for (const [name, permitted, excluded, san, expected] of rows) {
  test(`evaluates ${name}`, () => {
    const verdict = underCa(permitted, excluded, { san, name: "Node X" });
    assert.is(verdict, expected ? "accepted" : "name-constraint");
  });
}

const otherName = constructed(0, oid("1.2.3.4"), constructed(0, utf8String("x")));
const otherConstraint = {
  oid: "2.5.29.30",
  critical: true,
  value: sequence(constructed(1, sequence(otherName))),
};

test("refuses a name of a kind that is constrained but not processed, and no other", () => {
  const ca = forge("ca", { ca: true, issuer: root, add: [otherConstraint] });
  const add = [{ oid: "2.5.29.17", critical: false, value: sequence(otherName) }];
  assert.is(evaluate(forge("node", { issuer: ca, add }), ca), "name-constraint");
  assert.is(evaluate(forge("node", { issuer: ca, san: ["DNS:a.example"] }), ca), "accepted");
});

const mailbox = (address: string) =>
  setOfOne(sequence(oid("1.2.840.113549.1.9.1"), derValue(0x16, [Buffer.from(address)])));
/** Puts another subject in the place of `CN=node`. */
const withSubject = (...parts: Uint8Array[]) => (tbs: Uint8Array) => {
  const plain = encodeCommonName("node");
  const position = Buffer.from(tbs).lastIndexOf(plain);
  const before = Buffer.from(tbs).subarray(tbs[1]! < 0x80 ? 2 : 2 + (tbs[1]! & 0x7f), position);
  return sequence(before, sequence(...parts), Buffer.from(tbs).subarray(position + plain.length));
};

test("evaluates the e-mail address of a subject where no alternative name is one", () => {
  const tbs = withSubject(setOfOne(cnOf("node")), mailbox("x@evil.example"));
  assert.is(underCa([], ["email:evil.example"], { tbs }), "name-constraint");
  assert.is(underCa([], ["email:other.example"], { tbs }), "accepted");
  assert.is(underCa([], ["email:evil.example"], { tbs, san: ["email:x@good.example"] }), "accepted");
});

test("evaluates every part of a subject, and no subject where it is empty", () => {
  const named = (address: string) => sequence(setOfOne(cnOf("node")), mailbox(address));
  const evaluated = (permitted: Uint8Array, ...subject: Uint8Array[]) => {
    const add = [nameConstraints([{ tag: 4, content: permitted }])];
    const ca = forge("ca", { ca: true, issuer: root, add });
    const san = { oid: "2.5.29.17", critical: true, value: sequence(primitive(2, Buffer.from("a.example"))) };
    return evaluate(forge("node", { issuer: ca, tbs: withSubject(...subject), add: [san] }), ca);
  };
  const subject = [setOfOne(cnOf("node")), mailbox("x@a.example")];
  assert.is(evaluated(named("x@a.example"), ...subject), "accepted");
  assert.is(evaluated(named("y@a.example"), ...subject), "name-constraint");
  assert.is(evaluated(named("x@a.example"), setOfOne(cnOf("node"))), "name-constraint");
  assert.is(evaluated(named("x@a.example")), "accepted");
});

test("tells kinds of names that are not processed apart", () => {
  const ca = forge("ca", { ca: true, issuer: root, add: [otherConstraint] });
  const registered = { oid: "2.5.29.17", critical: false, value: sequence(primitive(8, Uint8Array.of(0x2a, 3))) };
  assert.is(evaluate(forge("node", { issuer: ca, add: [registered] }), ca), "accepted");
});

test("holds intermediates to the constraints above them too, self-issued ones excepted", () => {
  const add = [nameConstraints([], [subtree("CN:inner")])];
  const outer = forge("outer", { ca: true, issuer: root, add });
  const inner = forge("inner", { ca: true, issuer: outer });
  assert.is(evaluate(forge("node", { issuer: inner }), inner, outer), "name-constraint");
  const own = forge("outer", { ca: true, issuer: root, add: [nameConstraints([], [subtree("CN:outer")])] });
  const next = forge("outer", { ca: true, issuer: own });
  assert.is(evaluate(forge("node", { issuer: next }), next, own), "accepted");
});

test("holds a leaf to them that bears its issuer's name", () => {
  const add = [nameConstraints([], [subtree("DNS:a.example")])];
  const ca = forge("ca", { ca: true, issuer: root, add });
  assert.is(evaluate(forge("ca", { issuer: ca, san: ["DNS:a.example"] }), ca), "name-constraint");
  assert.is(evaluate(forge("ca", { issuer: ca, san: ["DNS:b.example"] }), ca), "accepted");
});

test("holds to an anchor's own constraints", () => {
  const anchor = forge("anchor", { ca: true, add: [nameConstraints([subtree("DNS:a.example")])] });
  const trust = Result.getOrThrow(
    makeTrustSnapshot({ trustPem: anchor.pem, policy: defaultPolicy, generation: 1, at }),
  );
  const verdict = (san: string) =>
    Result.isSuccess(verifyPath([forge("node", { issuer: anchor, san: [san] }).der], trust.snapshot, { at }));
  assert.ok(verdict("DNS:a.example"));
  assert.not.ok(verdict("DNS:b.example"));
});

test("stops at its budget of comparisons, not before", () => {
  const many = (count: number) => Array.from({ length: count }, (_, index) => subtree(`DNS:${index}.x`));
  const names = 125; // the subject is one
  const san = Array.from({ length: names - 1 }, (_, index) => `DNS:n${index}.y`);
  const verdict = (subtrees: number) => {
    const ca = forge("ca", { ca: true, issuer: root, add: [nameConstraints([], many(subtrees))] });
    return evaluate(forge("node", { issuer: ca, san }), ca);
  };
  assert.is(verdict(nameComparisonsMax / names), "accepted");
  assert.is(verdict(nameComparisonsMax / names + 1), "budget-exceeded");
});

test("spends one comparison on each constraint, of the permitted ones up to the one that fits", () => {
  const names = 125; // the subject is one
  const san = Array.from({ length: names - 1 }, (_, index) => `DNS:n${index}.y`);
  const verdict = (...permitted: Subtree[]) => {
    const ca = forge("ca", { ca: true, issuer: root, add: [nameConstraints(permitted)] });
    return evaluate(forge("node", { issuer: ca, san }), ca);
  };
  const others = (count: number) => Array.from({ length: count }, (_, index) => subtree(`DNS:${index}.x`));
  const each = nameComparisonsMax / names;
  assert.is(verdict(...others(each - 1), subtree("DNS:y")), "accepted");
  assert.is(verdict(...others(each), subtree("DNS:y")), "budget-exceeded");
  assert.is(verdict(subtree("DNS:y"), ...others(each)), "accepted", "the first fits, the others are not looked at");
});

/** A certificate whose constraints note how often their octets are read. */
function watched({ der }: Forged): { readonly ca: Certificate; readonly reads: () => number } {
  const ca = Result.getOrThrow(parseCertificate(der));
  let reads = 0;
  const watch = (name: SubjectAltName) =>
    Object.defineProperty({ ...name }, "octets", {
      get() {
        reads += 1;
        return name.octets;
      },
    });
  const { permitted, excluded } = ca.nameConstraints!;
  return {
    ca: { ...ca, nameConstraints: { permitted: permitted.map(watch), excluded: excluded.map(watch) } },
    reads: () => reads,
  };
}

const refusedIn = (budget: ComparisonBudget, leaf: Certificate, ...cas: Certificate[]) =>
  refuseNames([leaf, ...cas], budget)?.code;
const certificate = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der));

test("bug: on each path of a search, the names that a CA permits were folded once more", () => {
  const subtrees = Array.from({ length: 100 }, (_, index) => subtree(`CN:${index}`));
  const issuer = forge("ca", { ca: true, issuer: root, add: [nameConstraints(subtrees, [subtree("CN:other")])] });
  const { ca, reads } = watched(issuer);
  const leaf = certificate(forge("99", { issuer }));
  const budget = { comparisons: 0 };
  assert.is(refusedIn(budget, leaf, ca), undefined);
  const [first, spent] = [reads(), budget.comparisons];
  for (let path = 0; path < 9; path++) assert.is(refusedIn(budget, leaf, ca), undefined);
  assert.is(reads(), first);
  assert.is(budget.comparisons - spent, 9 * 101, "each comparison of each path counts");
});

test("bug: to fold long names of a CA cost nothing of the budget", () => {
  const long = () => subtree(`CN:${"\ufdfa".repeat(18_000)}`);
  const of = () => forge("ca", { ca: true, issuer: root, add: [nameConstraints([long(), subtree("CN:node")])] });
  const leaf = certificate(forge("node"));
  const budget = { comparisons: 0 };
  const found = Array.from({ length: 6 }, () => watched(of())).map((
    { ca, reads },
  ) => [refusedIn(budget, leaf, ca), reads() > 0]);
  const exceeded = found.findIndex(([code]) => code === "budget-exceeded");
  assert.is(exceeded, Math.floor(nameComparisonsMax / (18_000 * 3)));
  assert.equal(found.slice(0, exceeded), Array.from({ length: exceeded }, () => [undefined, true]));
});

test("bug: constraints of other kinds, and long names, cost as little of the budget as a short name", () => {
  const spentOn = (san: string[], ...excluded: Subtree[]) => {
    const issuer = forge("ca", { ca: true, issuer: root, add: [nameConstraints([], excluded)] });
    const budget = { comparisons: 0 };
    assert.is(refusedIn(budget, certificate(forge("node", { issuer, san })), certificate(issuer)), undefined);
    return budget.comparisons;
  };
  const others = Array.from({ length: 50 }, (_, index) => subtree(`email:${index}.x`));
  assert.is(spentOn(["DNS:a.example"], ...others), 100, "the subject is a name too");
  assert.is(spentOn(["DNS:a.example"], subtree("DNS:b.example")), 2);
  assert.is(
    spentOn([`URI:spiffe://a.example/${"b".repeat(5_000)}`], subtree("URI:b.example")),
    2 + Math.floor(5_028 / 256),
  );
});

const lengths: [name: number, constraint: number, further: number][] = [
  [100, 155, 0],
  [100, 156, 1],
  [100, 157, 1],
  [257, 254, 1],
  [257, 255, 2],
  [256, 257, 2],
];
for (const [name, constraint, further] of lengths) {
  test(`a name of ${name} characters and a constraint of ${constraint} cost ${1 + further} of the budget`, () => {
    const san = [`URI:${"spiffe://a.example/".padEnd(name, "b")}`];
    // Permitted, not excluded: it may be too long for a host name.
    const add = [nameConstraints([subtree(`URI:${"c".repeat(constraint)}`)])];
    const issuer = forge("ca", { ca: true, issuer: root, add });
    const budget = { comparisons: 0 };
    const code = refusedIn(budget, certificate(forge("node", { issuer, san })), certificate(issuer));
    assert.equal([code, budget.comparisons], ["name-constraint", 1 + further]);
  });
}

function cnOf(text: string): Uint8Array {
  return sequence(oid("2.5.4.3"), utf8String(text));
}

test.run();
