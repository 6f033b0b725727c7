/** What a cache of chains must not become: a store for whatever a peer sends, or a way round time, trust or policy. */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { chainBytesMax, linksMax, VerificationCache } from "../../pki/verification_cache.ts";
import { type VerifyOptions, verifyPath } from "../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot, type Policy, type TrustSnapshot } from "../../pki/trust.ts";
import { at, forge, type Forged, forgeListPem, later } from "../support/forge.ts";

const test = suite("bounds of VerificationCache");

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root, notAfter: later(10) });
const leaf = forge("leaf", { issuer: middle, san: ["DNS:a.example"], notBefore: later(-5), notAfter: later(30) });

const trust = (policy: Policy = defaultPolicy, crlsPem?: string): TrustSnapshot =>
  Result.getOrThrow(makeTrustSnapshot({ trustPem: root.pem, crlsPem, policy, generation: 1, at })).snapshot;

function evaluate(
  cache: VerificationCache,
  snapshot: TrustSnapshot,
  options: Partial<VerifyOptions> = {},
  chain: readonly Forged[] = [leaf, middle],
) {
  const outcome = verifyPath(chain.map(({ der }) => der), snapshot, { at, cache, ...options });
  return Result.isSuccess(outcome) ? outcome.success.signatureChecks : outcome.failure.code;
}

test("keeps no chain larger than an honest one, however valid", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  const large = (octets: number) =>
    forge("middle", {
      ca: true,
      issuer: root,
      keyOf: middle,
      add: [{ oid: "1.2.3", critical: false, value: Buffer.alloc(octets) }],
    });
  const size = (chain: readonly Forged[]) => chain.reduce((sum, { der }) => sum + der.length, 0);
  const frame = size([leaf, large(8_000)]) - 8_000;
  for (const [octets, checks] of [[chainBytesMax, 0], [chainBytesMax + 1, 2]] as const) {
    const chain = [leaf, large(octets - frame)];
    assert.is(size(chain), octets);
    assert.is(evaluate(cache, snapshot, {}, chain), 2);
    assert.is(evaluate(cache, snapshot, {}, chain), checks);
  }
  assert.is(cache.size, 1);
});

test("bug: a member filled the cache with chains of its own certificate and another one each, which was parsed and kept", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  const junk = () => forge("junk", { ca: true, san: Array.from({ length: 100 }, () => "DNS:a") });
  for (const chain of [[leaf, middle, junk()], [leaf, middle, junk()], [leaf, junk(), middle]]) {
    assert.type(evaluate(cache, snapshot, {}, chain), "number");
    assert.is(cache.size, 0);
  }
  // One that is sent twice makes no other chain either.
  assert.is(evaluate(cache, snapshot, {}, [leaf, middle, middle]), 1);
  assert.is(cache.size, 0);
  // The signature between the CAs is known; a root that is sent is on the path.
  assert.is(evaluate(cache, snapshot, {}, [leaf, middle, root]), 1);
  assert.is(evaluate(cache, snapshot, {}, [leaf, middle, root]), 0);
  assert.is(cache.size, 1);
});

test("remembers as many signatures between CAs as are allowed, and no more", () => {
  const [cache, snapshot] = [new VerificationCache(4), trust()];
  const cas = Array.from({ length: linksMax + 1 }, () => forge("middle", { ca: true, issuer: root, keyOf: middle }));
  for (const ca of cas) assert.is(evaluate(cache, snapshot, {}, [leaf, ca]), 2);
  const other = forge("other", { issuer: middle });
  assert.is(evaluate(cache, snapshot, {}, [other, cas[linksMax - 1]!]), 1);
  assert.is(evaluate(cache, snapshot, {}, [other, cas[linksMax]!]), 2);
});

test("evaluates time each time: forwards and backwards, and each certificate's", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  assert.is(evaluate(cache, snapshot), 2);
  assert.is(evaluate(cache, snapshot, { at: later(10) }), 0);
  assert.is(evaluate(cache, snapshot, { at: later(10.1) }), "certificate-expired");
  assert.is(evaluate(cache, snapshot, { at: later(-6) }), "certificate-not-yet-valid");
  assert.is(evaluate(cache, snapshot, { at: new Date(Number.NaN) }), "certificate-not-yet-valid");
});

test("evaluates the policy each time, in the same generation too", () => {
  const cache = new VerificationCache();
  assert.is(evaluate(cache, trust()), 2);
  assert.is(evaluate(cache, trust({ ...defaultPolicy, profile: "rfc5280" })), "malformed-certificate");
  assert.is(evaluate(cache, trust()), 2);
  assert.is(evaluate(cache, trust({ ...defaultPolicy, roles: "require" })), "role-not-allowed");
  assert.is(evaluate(cache, trust({ ...defaultPolicy, leafAlgorithms: ["rsa"] })), "unsupported-key-algorithm");
});

test("evaluates the dates of lists each time", () => {
  const cache = new VerificationCache();
  const list = (ca: Forged) => forgeListPem(ca, { nextUpdate: later(3) });
  const snapshot = trust(defaultPolicy, list(root) + list(middle));
  assert.is(evaluate(cache, snapshot), 2);
  assert.is(evaluate(cache, snapshot, { at: later(3.9) }), 0);
  assert.is(evaluate(cache, snapshot, { at: later(4.1) }), "crl-expired");
});

test("evaluates the name and the depth that a caller asks for, whoever asked before", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  const named = (value: string) => ({ expectedName: { type: "dns", value } as const });
  assert.is(evaluate(cache, snapshot, named("a.example")), 2);
  assert.is(evaluate(cache, snapshot, named("b.example")), "name-mismatch");
  assert.is(evaluate(cache, snapshot, { intermediatesMax: 0 }), "path-too-long");
  assert.is(evaluate(cache, snapshot, { certificatesMax: 1 }), "budget-exceeded");
  assert.is(evaluate(cache, snapshot), 0);
});

test.run();
