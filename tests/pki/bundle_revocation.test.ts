/** What a partner's bundle with many CAs of one name, and a list of each, costs and does. */
import process from "node:process";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import type { HeldCrl } from "../../pki/crl.ts";
import { CrlReader } from "../../pki/crl_reader.ts";
import { formatSpiffeBundle } from "../../pki/spiffe_bundle.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import { at, forge, type Forged, forgeList } from "../support/forge.ts";

const test = suite("lists of a bundle");
const certificate = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der));
const namesake = () => forge("Root", { ca: true, algorithm: "p256" });
const own = namesake();
const name = "partner.example";

/** A list of this CA that a node learned. */
function learned(ca: Forged, revoked: readonly string[]): readonly HeldCrl[] {
  const reader = new CrlReader({ cas: [certificate(ca)] });
  reader.push(forgeList(ca, { revoked }));
  return Result.getOrThrow(reader.finish()).map(({ list }) => ({ ...list, learned: true }));
}

/** Anchors of the own bundle and of the partner's, whose CAs have these lists. */
function anchorsOf(cas: readonly Forged[], lists: readonly HeldCrl[]): readonly number[] {
  const trust = formatSpiffeBundle(cas.map(certificate), { sequence: 1 });
  const { snapshot: { anchors, domains = [] } } = Result.getOrThrow(makeTrustSnapshot({
    ...{ trustPem: own.pem, policy: defaultPolicy, generation: 1, at },
    domains: [{ name, trust, fetched: { pin: undefined } }],
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
  const before = process.cpuUsage();
  const anchors = anchorsOf([...issuers, ...others], lists);
  const { user, system } = process.cpuUsage(before);
  assert.ok(user + system < 2_000_000, `${(user + system) / 1_000} ms`);
  // Of 2,000 signatures, four for each CA, eight CAs use 250 each.
  assert.equal(anchors, [1, 258], "its CAs that were not told from revoked ones are no anchors; another's are");
});

test.run();
