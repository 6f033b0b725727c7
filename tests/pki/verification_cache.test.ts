import { Buffer } from "node:buffer";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { VerificationCache } from "../../pki/verification_cache.ts";
import { type ChainLimits, checkWellFormed, type PathLimits, verifyPath } from "../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot, type Policy, type TrustSnapshot } from "../../pki/trust.ts";
import { at, forge, type Forged, forgeListPem, later } from "../support/forge.ts";

const test = suite("VerificationCache");

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root });
const leaf = forge("leaf", { issuer: middle });
const serial = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der)).serial;

interface Trust {
  readonly generation?: number;
  readonly anchor?: Forged;
  readonly revoked?: readonly string[];
  readonly policy?: Partial<Policy>;
}
function trust(options: Trust = {}): TrustSnapshot {
  const { generation = 1, anchor = root, revoked = [] } = options;
  const crlsPem = forgeListPem(anchor) + forgeListPem(middle, { revoked });
  const policy = { ...defaultPolicy, ...options.policy };
  return Result.getOrThrow(makeTrustSnapshot({ trustPem: anchor.pem, crlsPem, policy, generation, at })).snapshot;
}

type Options = { readonly chain?: Pick<Forged, "der">[]; readonly at?: Date } & PathLimits & ChainLimits;
function evaluate(cache: VerificationCache, snapshot: TrustSnapshot, options: Options = {}) {
  const chain = (options.chain ?? [leaf, middle]).map(({ der }) => der);
  const outcome = verifyPath(chain, snapshot, { ...options, at: options.at ?? at, cache });
  return Result.isSuccess(outcome) ? outcome.success.signatureChecks : outcome.failure.code;
}

test("remembers a chain: no signature is checked again", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  assert.is(evaluate(cache, snapshot), 2);
  assert.is(evaluate(cache, snapshot), 0);
  const again = Result.getOrThrow(verifyPath([leaf.der, middle.der], snapshot, { at, cache }));
  const fresh = Result.getOrThrow(verifyPath([leaf.der, middle.der], snapshot, { at }));
  assert.equal({ ...again, signatureChecks: 2 }, fresh);
});

test("is no way around revocation", () => {
  const cache = new VerificationCache();
  assert.is(evaluate(cache, trust()), 2);
  assert.is(evaluate(cache, trust({ revoked: [serial(leaf)] })), "certificate-revoked");
  assert.is(evaluate(cache, trust({ generation: 2, revoked: [serial(leaf)] })), "certificate-revoked");
});

test("checks signatures again under other anchors and another policy, and not for new lists", () => {
  const cache = new VerificationCache();
  assert.is(evaluate(cache, trust()), 2);
  assert.is(evaluate(cache, trust({ generation: 2 })), 0);
  assert.is(evaluate(cache, trust({ generation: 3, revoked: ["7f"] })), 0);
  assert.is(evaluate(cache, trust({ generation: 3, revoked: [serial(leaf)] })), "certificate-revoked");
  const strict = trust({ generation: 3, policy: { crlGraceMs: 0 } });
  assert.is(evaluate(cache, strict), 2);
  assert.is(evaluate(cache, strict), 0);
  assert.is(evaluate(cache, trust({ generation: 3, anchor: forge("other", { ca: true }) })), "unknown-issuer");
  assert.is(cache.size, 0);
});

test("does not take a chain in under a policy that would not have let it in the first time", () => {
  const cache = new VerificationCache();
  assert.is(evaluate(cache, trust()), 2);
  assert.is(evaluate(cache, trust({ policy: { caAlgorithms: ["rsa"] } })), "unsupported-key-algorithm");
});

test("forgets an expired chain", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  assert.is(evaluate(cache, snapshot), 2);
  assert.is(evaluate(cache, snapshot, { at: later(4_000) }), "certificate-expired");
  assert.is(cache.size, 0);
  // The leaf's signature again; that of its CA was not forgotten with it.
  assert.is(evaluate(cache, snapshot), 1);
});

test("checks a signature between CAs once for all peers below, and again under another policy", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  const below = (name: string) => [forge(name, { issuer: middle }), middle];
  assert.is(evaluate(cache, snapshot, { chain: below("one") }), 2);
  assert.is(evaluate(cache, snapshot, { chain: below("two") }), 1);
  assert.is(evaluate(cache, trust({ generation: 2 }), { chain: below("three") }), 1);
  assert.is(evaluate(cache, trust({ policy: { crlGraceMs: 0 } }), { chain: below("four") }), 2);
  // Another CA of that name, which this root never signed.
  const impostor = forge("middle", { ca: true, issuer: forge("root", { ca: true }) });
  assert.is(
    evaluate(cache, snapshot, { chain: [forge("leaf", { issuer: impostor }), impostor] }),
    "bad-signature",
  );
});

test("keeps nothing of a stranger, and takes no chain for another", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  assert.is(evaluate(cache, snapshot, { chain: [forge("leaf")] }), "self-signed");
  assert.is(cache.size, 0);
  assert.is(evaluate(cache, snapshot), 2);
  assert.is(evaluate(cache, snapshot, { chain: [leaf, middle, root] }), 1);
  assert.is(evaluate(cache, snapshot, { chain: [leaf] }), "unknown-issuer");
});

test("is bounded: the chain not seen longest goes first", () => {
  const [cache, snapshot] = [new VerificationCache(2), trust()];
  const [one, two, three] = ["one", "two", "three"].map((name) => [forge(name, { issuer: middle }), middle]);
  for (const chain of [one!, two!, one!, three!]) evaluate(cache, snapshot, { chain });
  assert.is(cache.size, 2);
  assert.is(evaluate(cache, snapshot, { chain: one! }), 0);
  assert.is(evaluate(cache, snapshot, { chain: two! }), 1);
});

test("insists on the peer that was dialled", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  const chain = [leaf.der, middle.der];
  const { identity } = Result.getOrThrow(verifyPath(chain, snapshot, { at, cache }));
  assert.ok(Result.isSuccess(verifyPath(chain, snapshot, { at, cache, expectedPeer: identity.peer })));
  const outcome = verifyPath(chain, snapshot, { at, cache, expectedPeer: "12D3KooWother" });
  assert.is(Result.isFailure(outcome) && outcome.failure.code, "peer-id-mismatch");
});

test("forgets a chain that is expired when it is seen first", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  assert.is(evaluate(cache, snapshot, { at: later(4_000) }), "certificate-expired");
  assert.is(cache.size, 0);
});

test("holds a chain that is remembered to how many certificates its caller allows", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  assert.is(evaluate(cache, snapshot, { certificatesMax: 2 }), 2);
  assert.is(evaluate(cache, snapshot, { certificatesMax: 2 }), 0);
  assert.is(evaluate(cache, snapshot, { certificatesMax: 1 }), "budget-exceeded");
});

test("holds a chain that is remembered to how long a path its caller allows, and remembers none found under a limit", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  assert.is(evaluate(cache, snapshot, { intermediatesMax: 1 }), 2);
  assert.is(cache.size, 0);
  assert.is(evaluate(cache, snapshot), 2);
  assert.is(evaluate(cache, snapshot, { intermediatesMax: 0 }), "path-too-long");
  assert.is(evaluate(cache, snapshot), 0);
});

test("parses the certificates of a remembered chain and reads its leaf once", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  const chain = [leaf.der, middle.der];
  const parsed = () => Result.getOrThrow(cache.checkWellFormed(chain));
  const verified = (expectedPeer?: string) =>
    Result.getOrThrow(verifyPath(chain, snapshot, { at, cache, expectedPeer })).identity;
  const first = verified();
  assert.ok(first === verified() && first === verified(first.peer));
  assert.ok(parsed() === parsed());
});

test("takes certificates that run into each other for no chain that it knows", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  assert.is(evaluate(cache, snapshot), 2);
  const joined = Uint8Array.from(Buffer.concat([leaf.der, middle.der]));
  for (const cut of [1, leaf.der.length - 1, leaf.der.length + 1, joined.length - 1]) {
    const chain = [{ der: joined.subarray(0, cut) }, { der: joined.subarray(cut) }];
    assert.is(evaluate(cache, snapshot, { chain }), "malformed-certificate");
  }
});

test("remembers nothing of a chain that somebody else parsed", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  const parsed = (...chain: Forged[]) => Result.getOrThrow(checkWellFormed(chain.map(({ der }) => der)));
  assert.ok(Result.isSuccess(cache.findPaths(parsed(leaf, middle), snapshot)));
  assert.is(cache.size, 0);
  assert.ok(Result.isFailure(cache.findPaths(parsed(forge("stranger")), snapshot)));
});

test("tells leaves apart whatever long certificate stands behind them", () => {
  const [cache, snapshot] = [new VerificationCache(), trust()];
  const long = forge("x".repeat(2_000), { ca: true });
  const first = forge("leaf", { issuer: middle, serial: 0x11 });
  const second = forge("leaf", { issuer: middle, serial: 0x12 });
  assert.is(evaluate(cache, snapshot, { chain: [first, middle, long] }), 2);
  assert.is(evaluate(cache, snapshot, { chain: [second, middle, long] }), 1);
});

test.run();
