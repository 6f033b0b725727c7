/**
 * Chains made to cost. Each must end soon, by a limit that is counted, not by luck.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { findPaths, linksTriedMax, pathsMax, signatureChecksMax } from "../../../pki/checks/find_paths.ts";
import { chainCertificatesMax, chainOctetsMax, checkWellFormed } from "../../../pki/checks/well_formed.ts";
import { alternativeNamesMax } from "../../../pki/general_name.ts";
import { nameConstraints } from "../../../pki/issue/extensions.ts";
import { verifyPath } from "../../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustSnapshot } from "../../../pki/trust.ts";
import { at, forge, type Forged, type ForgeOptions } from "../../support/forge.ts";

const test = suite("pathological chains");

const root = forge("root", { ca: true });
const trust = (...anchors: Forged[]): TrustSnapshot =>
  Result.getOrThrow(
    makeTrustSnapshot({ trustPem: anchors.map(({ pem }) => pem).join(""), policy: defaultPolicy, generation: 1, at }),
  ).snapshot;

/** Searches, and gives what came of it, how many signatures it took, and how long. */
function search(chain: readonly Forged[], snapshot: TrustSnapshot, certificatesMax?: number) {
  const wellFormed = Result.getOrThrow(checkWellFormed(chain.map(({ der }) => der), { certificatesMax }));
  const spending = { signatureChecks: 0 };
  const begun = performance.now();
  const found = findPaths(wellFormed, snapshot, { spending });
  assert.ok(performance.now() - begun < 1_000, "the search took a second");
  const checks = spending.signatureChecks;
  assert.ok(checks <= signatureChecksMax, `${checks} signature checks`);
  if (Result.isFailure(found)) return { verdict: found.failure.code, paths: 0, checks };
  assert.is(found.success.signatureChecks, checks);
  return { verdict: "found", paths: found.success.paths.length, checks };
}

test("two CAs that certify each other end in no path", () => {
  const a = forge("a", { ca: true });
  const b = forge("b", { ca: true });
  const ab = forge("a", { ca: true, issuer: b, keyOf: a });
  const ba = forge("b", { ca: true, issuer: a, keyOf: b });
  const outcome = search([forge("node", { issuer: a }), ab, ba], trust(root));
  assert.equal(outcome, { verdict: "unknown-issuer", paths: 0, checks: 2 });
});

test("a cycle beside an honest path does not hide it", () => {
  const a = forge("a", { ca: true, issuer: root });
  const b = forge("b", { ca: true });
  const ab = forge("a", { ca: true, issuer: b, keyOf: a });
  const ba = forge("b", { ca: true, issuer: a, keyOf: b });
  assert.equal(search([forge("node", { issuer: a }), ab, ba, a], trust(root)), {
    verdict: "found",
    paths: 1,
    checks: 4,
  });
});

test("a mesh of CAs that certify one another ends in no path", () => {
  // Every name is issued by every other, and none by an anchor.
  const cas = ["a", "b", "c", "d"].map((name) => forge(name, { ca: true }));
  const mesh = cas.flatMap((subject) =>
    cas.filter((issuer) => issuer !== subject).map((issuer) =>
      forge(subject.name, { ca: true, issuer, keyOf: subject })
    )
  );
  const node = forge("node", { issuer: cas[0]! });
  // Nine links between them, and the leaf's to the three certificates of its issuer.
  const outcome = search([node, ...mesh.slice(0, 9)], trust(root));
  assert.is(outcome.verdict, "unknown-issuer");
  assert.ok(outcome.checks <= 9 * 3 + 3, `${outcome.checks} signature checks`);
});

test("one name on every certificate, and each with another key, ends at the budget of signatures", () => {
  const cas = Array.from({ length: 9 }, () => forge("same", { ca: true }));
  // Each is certified by the next in line, so a path may wind through all; every wrong turn costs a signature.
  const sent = cas.map((subject, index) => forge("same", { ca: true, issuer: cas[(index + 1) % 9]!, keyOf: subject }));
  const anchors = Array.from({ length: 40 }, () => forge("same", { ca: true }));
  const outcome = search([forge("node", { issuer: cas[0]! }), ...sent], trust(...anchors));
  assert.equal(outcome, { verdict: "budget-exceeded", paths: 0, checks: signatureChecksMax });
});

test("the budget is what it says: one signature less is no refusal", () => {
  const decoys = (count: number) => Array.from({ length: count }, () => forge("ca", { ca: true }));
  const real = forge("ca", { ca: true });
  const node = forge("node", { issuer: real });
  const within = search([node], trust(...decoys(signatureChecksMax - 1), real));
  assert.equal(within, { verdict: "found", paths: 1, checks: signatureChecksMax });
  assert.is(search([node], trust(...decoys(signatureChecksMax), real)).verdict, "budget-exceeded");
});

test("a path found before the budget ended counts", () => {
  const decoys = Array.from({ length: signatureChecksMax }, () => forge("ca", { ca: true }));
  const real = forge("ca", { ca: true });
  const outcome = search([forge("node", { issuer: real })], trust(real, ...decoys));
  assert.equal(outcome, { verdict: "found", paths: 1, checks: signatureChecksMax });
});

test("as many candidates are kept as are allowed, and no more", () => {
  const ca = forge("ca", { ca: true });
  const renewed = (count: number) => Array.from({ length: count }, () => forge("ca", { ca: true, keyOf: ca }));
  const node = forge("node", { issuer: ca });
  assert.is(search([node], trust(...renewed(pathsMax - 1))).paths, pathsMax - 1);
  assert.equal(search([node], trust(...renewed(pathsMax + 5))), {
    verdict: "found",
    paths: pathsMax,
    checks: pathsMax,
  });
});

test("a copy of a certificate leads nowhere that the first did not", () => {
  const middle = forge("middle", { ca: true, issuer: root });
  const chain = [forge("node", { issuer: middle }), middle, middle, root, middle];
  assert.equal(search(chain, trust(root)), { verdict: "found", paths: 1, checks: 2 });
});

test("a thousand intermediates are refused before one of them is parsed", () => {
  const chain = [forge("node", { issuer: root }).der, ...Array.from({ length: 1_000 }, () => new Uint8Array(65_536))];
  const begun = performance.now();
  const outcome = checkWellFormed(chain);
  assert.is(Result.isFailure(outcome) && outcome.failure.code, "budget-exceeded");
  assert.ok(performance.now() - begun < 100);
});

/** Verifies by a budget of its own, whose spending is read afterwards. */
function spendingOf(leaf: Forged, issuers: readonly Forged[], snapshot: TrustSnapshot) {
  const outcome = verifyPath([leaf, ...issuers].map(({ der }) => der), snapshot, { at });
  return Result.isSuccess(outcome) ? "accepted" : outcome.failure.code;
}

test("a fan-out of 1,000 cross-signed intermediates ends at the budget of signatures", () => {
  const middle = forge("middle", { ca: true, issuer: root });
  const stranger = forge("stranger", { ca: true });
  const crossed = Array.from({ length: 1_000 }, () => forge("middle", { ca: true, issuer: stranger, keyOf: middle }));
  const leaf = forge("node", { issuer: middle });
  // Each of them did sign the leaf, and leads nowhere: 100 are looked at.
  const outcome = search([leaf, ...crossed], trust(root), 1_001);
  assert.equal(outcome, { verdict: "budget-exceeded", paths: 0, checks: signatureChecksMax });
  const beside = search([leaf, middle, ...crossed], trust(root), 1_002);
  assert.is(beside.verdict, "found");
});

test("a link that several paths share costs one signature check", () => {
  const top = forge("top", { ca: true, issuer: root });
  const middle = forge("middle", { ca: true, issuer: top });
  const leaf = forge("node", { issuer: middle });
  const others = Array.from({ length: 6 }, () => forge("top", { ca: true, issuer: root, keyOf: top }));
  const found = search([leaf, middle, top, ...others], trust(root));
  assert.equal([found.paths, found.checks], [7, 1 + 7 + 7]);
  const renewed = forge("middle", { ca: true, issuer: top, keyOf: middle });
  const both = search([leaf, middle, renewed, top], trust(root));
  assert.equal([both.paths, both.checks], [2, 2 + 2 + 1], "top's link to the root was checked for both");
});

test("bug: the certificates of a stranger's chain were parsed, ten of 64 KiB, before any signature was checked", () => {
  const octets = chainOctetsMax(chainCertificatesMax);
  const padded = (size: number) => {
    const frame = forge("fat", { add: [{ oid: "1.2.3", critical: false, value: Buffer.alloc(10_000) }] });
    const value = Buffer.alloc(10_000 + size - frame.der.length);
    return forge("fat", { add: [{ oid: "1.2.3", critical: false, value }] }).der;
  };
  const chain = (size: number) => [...Array.from({ length: 9 }, () => padded(3_000)), padded(size - 27_000)];
  const evaluate = (size: number) => {
    const outcome = checkWellFormed(chain(size));
    return Result.isSuccess(outcome) ? "well formed" : outcome.failure.message;
  };
  assert.is(evaluate(octets), "well formed");
  assert.is(evaluate(octets + 1), `Cannot verify chain within its budget: more than ${octets} octets in a chain`);
  // Not one is parsed: the second is no certificate.
  const junk = [forge("leaf", { issuer: root }).der, new Uint8Array(65_536)];
  const outcome = checkWellFormed(junk);
  assert.is(Result.isFailure(outcome) && outcome.failure.code, "budget-exceeded");
});

/** How many links a search of a chain tries where every signature is known to be good, and what comes of it. */
function linksTried(chain: readonly Forged[], snapshot: TrustSnapshot, certificatesMax?: number) {
  const wellFormed = Result.getOrThrow(checkWellFormed(chain.map(({ der }) => der), { certificatesMax }));
  let links = 0;
  const found = findPaths(wellFormed, snapshot, { isKnownLink: () => ++links > 0 });
  return { links, verdict: Result.isSuccess(found) ? "found" : found.failure.code };
}

test("bug: links that are known cost nothing, so that nine CAs of one name were tried in each of their orders", () => {
  const namesakes = Array.from({ length: 9 }, () => forge("same", { ca: true }));
  const chain = [forge("node", { issuer: namesakes[0]! }), ...namesakes];
  const isBounded = ({ links, verdict }: ReturnType<typeof linksTried>) => {
    assert.is(verdict, "budget-exceeded");
    assert.ok(links > linksTriedMax / 10 && links <= linksTriedMax, `${links} links`);
  };
  isBounded(linksTried(chain, trust(root)));
  // All domains together try as many links between certificates of the chain.
  const domains = Array.from({ length: 50 }, (_, index) => ({
    name: `d${index}.example`,
    trust: forge("stranger", { ca: true }).pem,
  }));
  const { snapshot } = Result.getOrThrow(
    makeTrustSnapshot({ trustPem: root.pem, domains, policy: defaultPolicy, generation: 1, at }),
  );
  isBounded(linksTried(chain, snapshot));
});

test("a chain whose links used up the budget is still found by a domain whose anchor issued its leaf", () => {
  const namesakes = Array.from({ length: 9 }, () => forge("same", { ca: true }));
  const partner = forge("same", { ca: true });
  const chain = [forge("node", { issuer: partner }), ...namesakes];
  const domains = [{ name: "partner.example", trust: partner.pem }];
  const { snapshot } = Result.getOrThrow(
    makeTrustSnapshot({ trustPem: root.pem, domains, policy: defaultPolicy, generation: 1, at }),
  );
  assert.is(linksTried(chain, snapshot).verdict, "found");
});

/** Certificates of one name and key. */
const copies = (count: number, name: string, options: ForgeOptions) => {
  const first = forge(name, options);
  return [first, ...Array.from({ length: count - 1 }, () => forge(name, { ...options, keyOf: first }))];
};
/** Anchors of one name, each of which is tried before it is refused: it may speak for no node. */
const refusedAnchors = (count: number) =>
  copies(count, "ca", { ca: true, add: [nameConstraints([{ tag: 2, content: Buffer.from("elsewhere.example") }])] });

test("a domain tries so many links to its anchors, and not one more", () => {
  const real = forge("ca", { ca: true });
  const node = forge("node", { issuer: real, san: ["DNS:node.example"] });
  const refused = refusedAnchors(linksTriedMax);
  assert.equal(linksTried([node], trust(...refused.slice(1), real)), { links: linksTriedMax, verdict: "found" });
  const over = linksTried([node], trust(...refused, real));
  assert.equal(over, { links: linksTriedMax, verdict: "budget-exceeded" });
});

test("links to anchors are no links between certificates of the chain", () => {
  const partner = forge("partner", { ca: true });
  const middle = forge("ca", { ca: true, issuer: partner });
  const node = forge("node", { issuer: middle, san: ["DNS:node.example"] });
  const { snapshot } = Result.getOrThrow(
    makeTrustSnapshot({
      trustPem: refusedAnchors(linksTriedMax - 1).map(({ pem }) => pem).join(""),
      domains: [{ name: "partner.example", trust: partner.pem }],
      policy: defaultPolicy,
      generation: 1,
      at,
    }),
  );
  // The first domain tries `middle` too, behind its anchors.
  assert.equal(linksTried([node, middle], snapshot), { links: linksTriedMax + 2, verdict: "found" });
});

test("all domains try so many links between certificates of the chain, and not one more", () => {
  const partner = forge("partner", { ca: true });
  const middle = forge("ca", { ca: true, issuer: partner });
  const node = forge("node", { issuer: middle });
  const astray = copies(linksTriedMax / 2, "ca", { ca: true, issuer: forge("stranger", { ca: true }) });
  const domains = [{ name: "partner.example", trust: partner.pem }];
  const { snapshot } = Result.getOrThrow(
    makeTrustSnapshot({ trustPem: root.pem, domains, policy: defaultPolicy, generation: 1, at }),
  );
  // Both domains try all of them; `middle` is the last, and its link to the anchor is none of these.
  const found = linksTried([node, ...astray.slice(1), middle], snapshot, linksTriedMax);
  assert.equal(found, { links: linksTriedMax + 1, verdict: "found" });
  const over = linksTried([node, ...astray, middle], snapshot, linksTriedMax);
  assert.equal(over, { links: linksTriedMax, verdict: "budget-exceeded" });
});

test("a bomb of name constraints ends at the budget of comparisons", () => {
  const subtrees = Array.from(
    { length: 2_000 },
    (_, index) => ({ tag: 2 as const, content: Buffer.from(`c${index}.x`) }),
  );
  const bomb = forge("bomb", { ca: true, issuer: root, add: [nameConstraints(subtrees)] });
  const names = Array.from({ length: alternativeNamesMax }, (_, index) => `DNS:x.c${1_999 - index % 3}.x`);
  assert.is(spendingOf(forge("node", { issuer: bomb, san: names }), [bomb], trust(root)), "budget-exceeded");
  assert.is(spendingOf(forge("node", { issuer: bomb, san: names.slice(0, 100) }), [bomb], trust(root)), "accepted");
});

test("bug: a certificate had as many alternative names as 64 KiB hold", () => {
  const many = Array.from({ length: alternativeNamesMax }, (_, index) => `DNS:n${index}.example`);
  assert.is(spendingOf(forge("node", { issuer: root, san: many }), [], trust(root)), "accepted");
  const more = forge("node", { issuer: root, san: [...many, "DNS:more.example"] });
  assert.is(spendingOf(more, [], trust(root)), "malformed-certificate");
});

test("names of 64 kB are refused by their size before anything else is done", () => {
  const long = Buffer.alloc(65_536, "a").toString();
  assert.is(spendingOf(forge(long, { issuer: root }), [], trust(root)), "budget-exceeded");
});

test.run();
