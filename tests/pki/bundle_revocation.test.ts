/** What a partner's bundle with many CAs of one name, and a list of each, costs and does. */
import process from "node:process";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isListOf, refusedAmong } from "../../pki/bundle_revocation.ts";
import { toHex } from "../../pki/bytes.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import type { CrlRequirement, HeldCrl } from "../../pki/crl.ts";
import { markKey } from "../../pki/crl_marks.ts";
import { CrlReader } from "../../pki/crl_reader.ts";
import { primitive, sequence } from "../../pki/issue/der_writer.ts";
import type { Extension } from "../../pki/issue/extensions.ts";
import { formatSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import { at, forge, type Forged, forgeList } from "../support/forge.ts";

const test = suite("lists of a bundle");
const certificate = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der));
const namesake = () => forge("Root", { ca: true, algorithm: "p256" });
const own = namesake();
const name = "partner.example";

/** The scope of a list for some of the reasons. */
const reasons = (flags: number): Extension => ({
  oid: "2.5.29.28",
  critical: true,
  value: sequence(primitive(0x83, Uint8Array.of(0, flags))),
});

/** A list of this CA that a node learned. */
function learned(ca: Forged, revoked: readonly string[], add: readonly Extension[] = []): readonly HeldCrl[] {
  const reader = new CrlReader({ cas: [certificate(ca)] });
  reader.push(forgeList(ca, { revoked, add }));
  return Result.getOrThrow(reader.finish()).map(({ list }) => ({ ...list, learned: true }));
}

/** Anchors of the own bundle and of the partner's, whose CAs have these lists. */
function anchorsOf(
  cas: readonly Forged[],
  lists: readonly HeldCrl[],
  { trustPem = own.pem, crls = "optional" }: { readonly trustPem?: string; readonly crls?: CrlRequirement } = {},
): readonly number[] {
  const trust = formatSpiffeBundle(cas.map(certificate), { sequence: 1 });
  const { snapshot: { anchors, domains = [] } } = Result.getOrThrow(makeTrustSnapshot({
    ...{ trustPem, policy: defaultPolicy, generation: 1, at },
    domains: [{ name, trust, fetched: { pin: undefined }, crls }],
    seenLists: new Map([[name, lists]]),
  }));
  return [anchors, ...domains.map((domain) => domain.anchors)].map(({ length }) => length);
}

test("a CA of the bundle that the list of its issuer revokes is no anchor; a namesake's list revokes nothing", () => {
  const [root, other] = [namesake(), namesake()];
  const below = forge("CA", { ca: true, issuer: root });
  const { serial } = certificate(below);
  assert.equal(anchorsOf([root, other, below], learned(root, [serial])), [1, 2]);
  assert.equal(anchorsOf([root, other, below], learned(other, [serial])), [1, 3]);
});

test("bug: lists of many CAs of one name stopped the node, each CA being tried as the issuer of each", () => {
  const [issuers, others] = [Array.from({ length: 250 }, namesake), Array.from({ length: 250 }, namesake)];
  const serials = [own, ...others].map((ca) => certificate(ca).serial);
  const lists = issuers.flatMap((ca) => learned(ca, serials));
  for (const crls of ["optional", "required"] as const) {
    const before = process.cpuUsage();
    const anchors = anchorsOf([...issuers, ...others], lists, { crls });
    const { user, system } = process.cpuUsage(before);
    // 0.5 s on Node and 1.7 on Deno for 2,000 signatures; without a limit there are 125,000.
    assert.ok(user + system < 8_000_000, `${crls}: ${(user + system) / 1_000} ms`);
    // Of 2,000 signatures, four for each CA, eight CAs use 250 each.
    assert.equal(anchors, [1, 258], "its CAs that were not told from revoked ones are no anchors; another's are");
  }
});

/** The lists, and how often the scope of any of them was read. */
function counted(lists: readonly HeldCrl[]): { readonly lists: readonly HeldCrl[]; readonly reads: () => number } {
  let reads = 0;
  const counting = lists.map((list) =>
    Object.defineProperty({ ...list }, "scope", {
      enumerable: true,
      get() {
        reads += 1;
        return list.scope;
      },
    })
  );
  return { lists: counting, reads: () => reads };
}

test("bug: where lists are required, all lists of a domain were sorted once more for each two CAs of one name", () => {
  const cas = Array.from({ length: 50 }, namesake);
  const { lists, reads } = counted(cas.flatMap((ca) => learned(ca, [])));
  assert.equal(anchorsOf(cas, lists, { crls: "required" }), [1, 50]);
  assert.ok(reads() < 5 * 50 ** 2, `${reads()} reads of a scope`);
});

test("bug: all lists of a key were compared once more for each two CAs with that key and name", () => {
  const root = namesake();
  const cas = Array.from({ length: 50 }, () => forge("Root", { ca: true, keyOf: root }));
  const { serial } = certificate(cas[0]!);
  for (const crls of ["optional", "required"] as const) {
    const { lists, reads } = counted(
      Array.from({ length: 50 }, (_, index) => learned(root, [serial], [reasons(index + 1)])).flat(),
    );
    assert.equal(anchorsOf(cas, lists, { crls }), [1, 49], crls);
    assert.ok(reads() < 20 * 50 ** 2, `${crls}: ${reads()} reads of a scope`);
  }
});

test("the list of another domain takes the CA that it issued and revokes out of the own bundle, and no other", () => {
  const root = namesake();
  const crossed = forge("Crossed", { ca: true, issuer: root });
  const trustPem = `${own.pem}\n${crossed.pem}`;
  assert.equal(anchorsOf([root], learned(root, [certificate(crossed).serial]), { trustPem }), [1, 1]);
  assert.equal(anchorsOf([root], learned(root, [certificate(own).serial]), { trustPem }), [2, 1]);
});

test("of a small bundle a hundred signatures are verified, and no more", () => {
  const ca = certificate(namesake());
  const issuers = Array.from({ length: 101 }, () => ({ cas: [certificate(namesake())] as const, lists: [] }));
  const refused = (count: number, unproven: "refused" | "kept") => {
    const named = new Map([[toHex(ca.issuer.der), issuers.slice(0, count)]]);
    return refusedAmong([ca], named, () => true, unproven).length;
  };
  assert.equal([refused(100, "refused"), refused(101, "refused"), refused(101, "kept")], [0, 1, 0]);
});

test("a list that was found good under a key is that CA's, and is verified under no other", () => {
  const [root, other] = [namesake(), namesake()];
  const reader = new CrlReader({ cas: [] });
  reader.push(forgeList(root));
  const list = Result.getOrThrow(reader.finish())[0]!.list;
  const vouched = { ...list, vouchedBy: markKey(certificate(root)) };
  let verified = 0;
  const { algorithm, ...rest } = certificate(other).publicKey;
  const counting = {
    ...rest,
    get algorithm() {
      verified += 1;
      return algorithm;
    },
  };
  assert.equal([isListOf(vouched, certificate(root)), isListOf(list, certificate(root))], [true, true]);
  assert.equal([isListOf(vouched, { ...certificate(other), publicKey: counting }), verified], [false, 0]);
});

test.run();
