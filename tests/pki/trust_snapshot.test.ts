/** Trust domains kept apart: what one organisation cannot do to another one, or to this node. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { authorityKeyId, subjectKeyId } from "../../pki/issue/extensions.ts";
import { markKey } from "../../pki/crl_marks.ts";
import { memberOf } from "../../pki/member.ts";
import { signatureChecksMax } from "../../pki/checks/find_paths.ts";
import { verifyPath } from "../../pki/path.ts";
import {
  defaultPolicy,
  type DomainInput,
  domainOf,
  makeTrustSnapshot,
  type TrustInput,
  type TrustMade,
} from "../../pki/trust.ts";
import { changedDomains } from "../../pki/trust_snapshot.ts";
import { formatSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import { VerificationCache } from "../../pki/verification_cache.ts";
import { at, forge, type Forged, forgeListPem } from "../support/forge.ts";

const test = suite("trust domains, kept apart");

const certificate = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der));
const revoking = (...revoked: Forged[]) => ({ revoked: revoked.map((each) => certificate(each).serial) });

const home = forge("home", { ca: true });
const middle = forge("middle", { ca: true, issuer: home });
const partner = forge("partner", { ca: true });
const partnerDomain: DomainInput = { name: "partner.example", trust: partner.pem };

function make(input: Partial<TrustInput> = {}, before?: TrustMade): TrustMade {
  const seen = before === undefined ? {} : { crlMarks: before.crlMarks, seenLists: before.lists };
  const usual = { trustPem: home.pem, policy: defaultPolicy, generation: 1, at, domains: [partnerDomain] };
  return Result.getOrThrow(makeTrustSnapshot({ ...usual, rollback: "report", ...seen, ...input }));
}

function evaluate({ snapshot }: TrustMade, chain: readonly Forged[], cache?: VerificationCache): string {
  const outcome = verifyPath(chain.map(({ der }) => der), snapshot, { at, cache });
  return Result.isSuccess(outcome) ? `accepted by ${outcome.success.domain ?? "home"}` : outcome.failure.code;
}

const named = (issuer: Forged, ...uris: string[]) => forge("node", { issuer, san: uris.map((uri) => `URI:${uri}`) });

test("the node's own bundle may not claim the name of a partner, whether its own name is set or not", () => {
  for (const ownName of [undefined, "home.example"]) {
    const made = make({ ownName });
    for (const uri of ["spiffe://partner.example/scheduler/a", "SPIFFE://Partner.Example/scheduler/a"]) {
      assert.is(evaluate(made, [named(home, uri)]), "name-constraint", `${ownName} ${uri}`);
    }
    assert.is(evaluate(made, [named(home, "spiffe://home.example/worker/a")]), "accepted by home");
    assert.is(evaluate(made, [named(partner, "spiffe://home.example/worker/a")]), "name-constraint");
    assert.is(evaluate(made, [named(partner, "spiffe://partner.example/worker/a")]), "accepted by partner.example");
    assert.is(evaluate(made, [forge("node", { issuer: home })]), "accepted by home");
  }
});

test("a chain of the node's own bundle that was accepted before its name became a partner's is refused from then on", () => {
  const leaf = named(home, "spiffe://partner.example/worker/a");
  const cache = new VerificationCache();
  assert.is(evaluate(make({ domains: [] }), [leaf], cache), "accepted by home");
  assert.is(evaluate(make(), [leaf], cache), "name-constraint");
});

test("where its own name is set, the node's own bundle may claim no other", () => {
  const foreign = named(home, "spiffe://elsewhere.example/worker/a");
  assert.is(evaluate(make(), [foreign]), "accepted by home");
  assert.is(evaluate(make({ ownName: "home.example" }), [foreign]), "name-constraint");
});

test("the node's own name cannot be a partner's too", () => {
  const outcome = makeTrustSnapshot({
    trustPem: home.pem,
    policy: defaultPolicy,
    generation: 1,
    at,
    ownName: "partner.example",
    domains: [partnerDomain],
  });
  assert.ok(Result.isFailure(outcome));
  assert.match(outcome.failure.detail, "this node's own");
});

test("a member of a partner without a name is no member of the node's own domain", () => {
  const snapshot = make().snapshot;
  const identities = [home, partner].map((issuer) => {
    const leaf = forge("node", { issuer, keyOf: home });
    return Result.getOrThrow(verifyPath([leaf.der], snapshot, { at })).identity;
  });
  assert.equal(identities.map(({ domain }) => domain), [undefined, "partner.example"]);
  const [ours, theirs] = identities.map((identity) => memberOf({ ...identity, issuer: "the same" }));
  assert.is.not(ours, theirs);
});

test("a certificate that was revoked is revoked through a partner's cross-certificate too", () => {
  const leaf = forge("node", { issuer: middle });
  const cross = forge("middle", { ca: true, issuer: partner, keyOf: middle });
  const lists = forgeListPem(home) + forgeListPem(middle, revoking(leaf));
  const chain = [leaf, middle, cross];
  assert.is(evaluate(make(), chain), "accepted by home");
  assert.is(evaluate(make({ crlsPem: lists }), chain), "certificate-revoked");
  const theirs = [{ ...partnerDomain, crlsPem: forgeListPem(partner) }];
  assert.is(evaluate(make({ crlsPem: lists, domains: theirs }), chain), "certificate-revoked");
  const clear = forgeListPem(home) + forgeListPem(middle);
  assert.is(evaluate(make({ crlsPem: clear }), [leaf, cross]), "accepted by partner.example");
});

test("a list of a partner revokes what its own CA issued, wherever the path leads, and nothing of a namesake", () => {
  const leaf = forge("node", { issuer: middle });
  const cross = forge("middle", { ca: true, issuer: partner, keyOf: middle });
  const crlsPem = forgeListPem(home) + forgeListPem(middle);
  const theirs = { ...partnerDomain, trust: partner.pem + cross.pem };
  const revoked = [{ ...theirs, crlsPem: forgeListPem(partner) + forgeListPem(middle, revoking(leaf)) }];
  assert.is(evaluate(make({ crlsPem, domains: revoked }), [leaf, middle]), "certificate-revoked");
  const namesake = forge("middle", { ca: true, issuer: partner });
  const forged = { ...partnerDomain, crlsPem: forgeListPem(partner) + forgeListPem(namesake, revoking(leaf)) };
  assert.is(evaluate(make({ crlsPem, domains: [forged] }), [leaf, middle]), "accepted by home");
});

test("a CA that its issuer revoked is no anchor of a partner either", () => {
  const leaf = forge("node", { issuer: middle });
  const borrowed = [{ ...partnerDomain, trust: partner.pem + middle.pem }];
  assert.is(evaluate(make({ domains: borrowed, trustPem: home.pem }), [leaf]), "accepted by partner.example");
  const crlsPem = forgeListPem(home, revoking(middle)) + forgeListPem(middle);
  const made = make({ domains: borrowed, crlsPem });
  assert.is(evaluate(made, [leaf]), "unknown-issuer");
  assert.ok(made.warnings.some(({ code, domain }) => code === "anchor-revoked" && domain === "partner.example"));
});

/** A partner's CA with the name and the key identifier of our intermediate, and a list with a number that nobody reaches. */
const keyId = Uint8Array.of(1, 2, 3);
const ours = forge("middle", { ca: true, issuer: home, add: [subjectKeyId(keyId)] });
const impostor = forge("middle", { ca: true, issuer: partner, add: [subjectKeyId(keyId)] });
const listOf = (ca: Forged, number: bigint, ...revoked: Forged[]) =>
  forgeListPem(ca, { number, add: [authorityKeyId(keyId)], ...revoking(...revoked) });

for (const rollback of ["report", "refuse"] as const) {
  test(`a partner's list with our intermediate's name, and a number of 41 digits, freezes nothing of ours: ${rollback}`, () => {
    const leaf = forge("node", { issuer: ours });
    const theirs = forge("node", { issuer: impostor });
    const highest = listOf(impostor, 10n ** 40n);
    const domains = [{ ...partnerDomain, rollback, crlsPem: forgeListPem(partner) + highest }];
    const home1 = forgeListPem(home);
    const first = make({ rollback, domains, crlsPem: home1 + listOf(ours, 5n) });
    assert.is(evaluate(first, [theirs, impostor]), "accepted by partner.example");
    assert.is(evaluate(first, [leaf, ours]), "accepted by home");
    const second = make({ rollback, domains, crlsPem: home1 + listOf(ours, 6n, leaf) }, first);
    assert.is(evaluate(second, [leaf, ours]), "certificate-revoked");
    // The same where the partner's CA was put into the node's own bundle.
    const both = { rollback, domains: [], trustPem: home.pem + partner.pem };
    const third = make({ ...both, crlsPem: home1 + forgeListPem(partner) + highest });
    assert.is(evaluate(third, [theirs, impostor]), "accepted by home");
    const fourth = make({ ...both, crlsPem: home1 + forgeListPem(partner) + listOf(ours, 6n, leaf) }, third);
    assert.is(evaluate(fourth, [leaf, ours]), "certificate-revoked");
  });
}

test("bug: a CA of a partner stayed an anchor of another one that had put it into its bundle", () => {
  const [root, other, rival] = [partner, forge("other", { ca: true }), forge("rival", { ca: true })];
  const below = forge("partner 2", { ca: true, issuer: root });
  const pinOf = (ca: Forged) => ({ pin: markKey(certificate(ca)) });
  const bundle = (...cas: Forged[]) => formatSpiffeBundle(cas.map(certificate));
  const partnerIs = (trust: string | undefined): DomainInput => ({
    name: "partner.example",
    trust,
    fetched: pinOf(root),
  });
  const otherIs = (trust: string, fetched: DomainInput["fetched"] = pinOf(other)): DomainInput => ({
    name: "other.example",
    trust,
    fetched,
  });
  const anchors = (name: string, domains: readonly DomainInput[]) =>
    domainOf(make({ domains }).snapshot, name).anchors.map(({ subject }) => subject.text).join();
  const copied = bundle(other, root, below, rival);
  for (const fetched of [pinOf(other), { pin: undefined }]) {
    const both = [otherIs(copied, fetched), partnerIs(bundle(root, below, rival))];
    for (const domains of [both, both.toReversed()]) {
      assert.is(anchors("partner.example", domains), "CN=partner,CN=partner 2,CN=rival");
      assert.is(anchors("other.example", domains), "CN=other,CN=rival", "no pin says whose the last one is");
      const told = make({ domains }).warnings.filter(({ code }) => code === "anchor-foreign");
      assert.equal(told.map(({ domain, subject }) => [domain, subject]), [
        ["other.example", "CN=partner"],
        ["other.example", "CN=partner 2"],
      ]);
    }
  }
  assert.is(anchors("other.example", [otherIs(copied), partnerIs(undefined)]), "CN=other,CN=partner 2,CN=rival");
  // A certificate that another CA made for a CA's key takes nothing from that CA.
  const crossed = forge("rival", { ca: true, issuer: root, keyOf: rival });
  const crossing = [otherIs(bundle(other, rival)), partnerIs(bundle(root, crossed))];
  assert.is(anchors("other.example", crossing), "CN=other,CN=rival");
  assert.is(anchors("partner.example", crossing), "CN=partner,CN=rival");
  // By the CAs in the operator's files a bundle is judged when it is fetched, and not after that.
  const filed = [{ name: "file.example", trust: rival.pem }, otherIs(bundle(other, home, rival))];
  assert.is(anchors("other.example", filed), "CN=other,CN=home,CN=rival");
  // What the operator wrote into a file is not judged by what a partner serves.
  const file = { name: "other.example", trust: copied };
  assert.is(
    anchors("other.example", [file, partnerIs(bundle(root, below))]),
    "CN=other,CN=partner,CN=partner 2,CN=rival",
  );
});

test("a domain's candidate paths use up no other domain's budget, and take no other's places", () => {
  // As many namesakes of the partner's CA as the budget has checks.
  const namesakes = Array.from({ length: signatureChecksMax + 5 }, () => forge("partner", { ca: true }).pem).join("");
  const crowd: DomainInput = { name: "crowd.example", trust: namesakes };
  const leaf = forge("node", { issuer: partner });
  assert.is(evaluate(make({ domains: [crowd, partnerDomain] }), [leaf]), "accepted by partner.example");
  assert.is(evaluate(make({ trustPem: namesakes }), [leaf]), "accepted by partner.example");
  // Renewed CAs of one key: each is a path of its own.
  const renewed = Array.from({ length: 20 }, () => forge("partner", { ca: true, keyOf: partner }).pem).join("");
  const many = { name: "many.example", trust: renewed, crlsPem: forgeListPem(forge("nobody", { ca: true })) };
  assert.is(evaluate(make({ domains: [many, partnerDomain] }), [leaf]), "accepted by partner.example");
});

test("a change of one domain repeats its own signatures only", () => {
  const other = forge("other", { ca: true });
  const [ownLeaf, theirLeaf] = [forge("node", { issuer: home }), forge("node", { issuer: partner })];
  const cache = new VerificationCache();
  const checks = (made: TrustMade, leaf: Forged) => {
    const outcome = verifyPath([leaf.der], made.snapshot, { at, cache });
    return Result.getOrThrow(outcome).signatureChecks;
  };
  const before = make();
  assert.equal([checks(before, ownLeaf), checks(before, theirLeaf)], [1, 1]);
  const grown = make({ domains: [{ ...partnerDomain, trust: partner.pem + other.pem }] });
  assert.equal([checks(grown, ownLeaf), checks(grown, theirLeaf)], [0, 1]);
  assert.equal([...changedDomains(before.snapshot, grown.snapshot)], ["partner.example"]);
  const ownGrown = make({ trustPem: home.pem + other.pem });
  assert.equal([...changedDomains(before.snapshot, ownGrown.snapshot)], [undefined]);
  assert.equal([checks(ownGrown, ownLeaf), checks(ownGrown, theirLeaf)], [1, 1]);
  assert.equal([checks(ownGrown, ownLeaf), checks(ownGrown, theirLeaf)], [0, 0]);
});

test("the chains of one domain push those of another out of the cache only while they have more than their share", () => {
  const cache = new VerificationCache(4);
  const made = make();
  const [first, second] = [forge("node", { issuer: home }), forge("node", { issuer: home })];
  for (const leaf of [first, second]) assert.is(evaluate(made, [leaf], cache), "accepted by home");
  for (let each = 0; each < 10; each++) evaluate(made, [forge("node", { issuer: partner })], cache);
  assert.is(cache.size, 4);
  const checks = [first, second].map(({ der }) =>
    Result.getOrThrow(verifyPath([der], made.snapshot, { at, cache })).signatureChecks
  );
  assert.equal(checks, [0, 0]);
});

test.run();
