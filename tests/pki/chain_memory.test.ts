import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseCertificate } from "../../pki/certificate.ts";
import { ChainMemory } from "../../pki/chain_memory.ts";
import { verifyPath } from "../../pki/path.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustSnapshot } from "../../pki/trust.ts";
import { at, forge, type Forged, forgeListPem, later } from "../support/forge.ts";

const test = suite("ChainMemory");

const root = forge("root", { ca: true });
const middle = forge("middle", { ca: true, issuer: root });
const leaf = forge("leaf", { issuer: middle });
const serial = ({ der }: Forged) => Result.getOrThrow(parseCertificate(der)).serial;

function trust(options: { generation?: number; anchor?: Forged; revoked?: readonly string[] } = {}): TrustSnapshot {
  const { generation = 1, anchor = root, revoked = [] } = options;
  const crlsPem = forgeListPem(anchor) + forgeListPem(middle, { revoked });
  const trustPem = anchor.pem;
  return Result.getOrThrow(makeTrustSnapshot({ trustPem, crlsPem, policy: defaultPolicy, generation, at })).snapshot;
}

function judge(memory: ChainMemory, snapshot: TrustSnapshot, options: { chain?: Forged[]; at?: Date } = {}) {
  const chain = (options.chain ?? [leaf, middle]).map(({ der }) => der);
  const outcome = verifyPath(chain, snapshot, { at: options.at ?? at, memory });
  return Result.isSuccess(outcome) ? outcome.success.signatureChecks : outcome.failure.code;
}

test("remembers a chain: no signature is checked again", () => {
  const [memory, snapshot] = [new ChainMemory(), trust()];
  assert.is(judge(memory, snapshot), 2);
  assert.is(judge(memory, snapshot), 0);
  const again = Result.getOrThrow(verifyPath([leaf.der, middle.der], snapshot, { at, memory }));
  const fresh = Result.getOrThrow(verifyPath([leaf.der, middle.der], snapshot, { at }));
  assert.equal({ ...again, signatureChecks: 2 }, fresh);
});

test("is no way around revocation", () => {
  const memory = new ChainMemory();
  assert.is(judge(memory, trust()), 2);
  assert.is(judge(memory, trust({ revoked: [serial(leaf)] })), "certificate-revoked");
  assert.is(judge(memory, trust({ generation: 2, revoked: [serial(leaf)] })), "certificate-revoked");
});

test("checks signatures again under a new snapshot, and under other anchors of the same generation", () => {
  const memory = new ChainMemory();
  assert.is(judge(memory, trust()), 2);
  assert.is(judge(memory, trust({ generation: 2 })), 2);
  assert.is(judge(memory, trust({ generation: 2 })), 0);
  assert.is(judge(memory, trust({ generation: 2, anchor: forge("other", { ca: true }) })), "unknown-issuer");
  assert.is(memory.size, 0);
});

test("forgets an expired chain", () => {
  const [memory, snapshot] = [new ChainMemory(), trust()];
  assert.is(judge(memory, snapshot), 2);
  assert.is(judge(memory, snapshot, { at: later(4_000) }), "certificate-expired");
  assert.is(memory.size, 0);
  assert.is(judge(memory, snapshot), 2);
});

test("keeps nothing of a stranger, and takes no chain for another", () => {
  const [memory, snapshot] = [new ChainMemory(), trust()];
  assert.is(judge(memory, snapshot, { chain: [forge("leaf")] }), "self-signed");
  assert.is(memory.size, 0);
  assert.is(judge(memory, snapshot), 2);
  assert.is(judge(memory, snapshot, { chain: [leaf, middle, root] }), 2);
  assert.is(judge(memory, snapshot, { chain: [leaf] }), "unknown-issuer");
});

test("is bounded: the chain not seen longest goes first", () => {
  const [memory, snapshot] = [new ChainMemory(2), trust()];
  const [one, two, three] = ["one", "two", "three"].map((name) => [forge(name, { issuer: middle }), middle]);
  for (const chain of [one!, two!, one!, three!]) judge(memory, snapshot, { chain });
  assert.is(memory.size, 2);
  assert.is(judge(memory, snapshot, { chain: one! }), 0);
  assert.is(judge(memory, snapshot, { chain: two! }), 2);
});

test("insists on the peer that was dialled", () => {
  const [memory, snapshot] = [new ChainMemory(), trust()];
  const chain = [leaf.der, middle.der];
  const { identity } = Result.getOrThrow(verifyPath(chain, snapshot, { at, memory }));
  assert.ok(Result.isSuccess(verifyPath(chain, snapshot, { at, memory, expectedPeer: identity.peer })));
  const outcome = verifyPath(chain, snapshot, { at, memory, expectedPeer: "12D3KooWother" });
  assert.is(Result.isFailure(outcome) && outcome.failure.code, "peer-id-mismatch");
});

test.run();
