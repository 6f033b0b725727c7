/** Large lists and backups do not hold the event loop: whoever asks meanwhile is answered. */
import { join } from "node:path";
import process from "node:process";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { listLifetimeMs } from "../../actors/ca/compose_lists.ts";
import { crlOf, derOf, enterRevocations, pieceBytesMax } from "../../actors/ca/crl_rows.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import { makeLists, removePieces, shortEntriesMax } from "../../actors/ca/make_lists.ts";
import { renewLists, revoke } from "../../actors/ca/revoke.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { parseCrl } from "../../pki/crl.ts";
import { revokedEntries } from "../../pki/issue/revoked_entries.ts";
import { measureStall } from "../../scripts/bench/stall.ts";
import { type TestAuthority, testAuthority, testCsr } from "../support/authority.ts";
import { testCaPort } from "../support/ca_port.ts";
import { ask } from "../support/https_client.ts";

const test = suite("large lists of the CA");
/** `HYPHA_ENTRIES=100000` is measured by hand. */
const count = Number(process.env["HYPHA_ENTRIES"] ?? 10_000);
/** The longest piece of the event loop's work, in milliseconds. */
const stallMaxMs = 20;
/** Other work on the machine stalls a loop too; what an operation does itself it does in each round. */
const rounds = 5;

/** Revocations of an earlier time. */
async function crowd({ ca }: TestAuthority): Promise<void> {
  for (let from = 0; from < count; from += 5_000) {
    const rows = Array.from({ length: Math.min(5_000, count - from) }, (_, index) => ({
      position: from + index + 1,
      issuer: ca.issuerId,
      serial: (0x4000_0000 + from + index).toString(16).padEnd(40, "7"),
      revoked: Date.now(),
      reason: "superseded" as const,
      not_after: null,
    }));
    Result.getOrThrow(ca.register.transaction((register) => Result.succeed(enterRevocations(register, rows))));
  }
  await Effect.runPromise(renewLists(ca, new Date()));
}

const pieces = ({ ca }: TestAuthority) =>
  Result.getOrThrow(
    ca.register.read((rows) => rows.all<{ sha256: string }>("SELECT DISTINCT sha256 FROM crl_pieces")),
  ).map(({ sha256 }) => sha256);

test("revoking, fetching the list and a backup hold the event loop for 20 ms at most", async () => {
  const world = await testCaPort();
  world.ca.register.prepareThreads();
  await crowd(world);
  const stalls = { revoke: [] as number[], fetch: [] as number[], backup: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    const [token, { der: csr }] = [await world.token(`w-${round}`), await testCsr()];
    const at = new Date();
    const leaf = await Effect.runPromise(enrol(world.ca, { token, csr, address: "10.0.0.1" }, at));
    const { serial } = Result.getOrThrow(parseCertificate(leaf));
    const revoking = () => Effect.runPromise(revoke(world.ca, { serial }, "keyCompromise", at));
    stalls.revoke.push((await measureStall(revoking)).pieceMs);
    const fetched = await measureStall(() => ask(`${world.url}/crl/${world.ca.issuerId}.crl`));
    stalls.fetch.push(fetched.pieceMs);
    const listed = Result.getOrThrow(revokedEntries(Result.getOrThrow(parseCrl(fetched.value.body))));
    assert.is(listed.length, count + round + 1);
    const file = join(world.folder, `backup-${round}.db`);
    const copied = await measureStall(() => world.ca.register.backup(file));
    assert.ok(Result.isSuccess(copied.value));
    stalls.backup.push(copied.pieceMs);
  }
  const least = Object.entries(stalls).map(([what, each]) => [what, Math.min(...each)] as const);
  if (count > 10_000) console.log(stalls);
  for (const [what, stallMs] of least) assert.ok(stallMs <= stallMaxMs, `${what}: ${stallMs.toFixed(1)} ms`);
  await world.stop();
});

test("a list that was made and not entered leaves pieces, which the next one removes", async () => {
  const world = await testAuthority();
  await crowd(world);
  const before = pieces(world);
  const { ca } = world;
  const lists = await Effect.runPromise(makeLists(ca, { signer: ca, added: [], at: new Date() }));
  assert.ok(lists.some(({ size }) => size > pieceBytesMax));
  assert.ok(pieces(world).length > before.length, "its pieces wait for the transaction that never came");
  const inForce = () => {
    const der = ca.register.read((rows) => derOf(rows, crlOf(rows, ca.issuerId, "complete")!));
    return Result.getOrThrow(revokedEntries(Result.getOrThrow(parseCrl(Result.getOrThrow(der))))).length;
  };
  assert.is(inForce(), count);
  await Effect.runPromise(removePieces(ca.register));
  assert.equal(pieces(world).toSorted(), before.toSorted());
  assert.is(inForce(), count);
  world.close();
});

test("short lists are made without a thread", async () => {
  const world = await testAuthority();
  const asked: unknown[] = [];
  Object.assign(world.ca.register.lists, { ask: (question: unknown) => Promise.reject(asked.push(question)) });
  assert.is(await Effect.runPromise(renewLists(world.ca, new Date())), "renewed");
  const revocation = (position: number) => ({
    ...{ position, issuer: world.ca.issuerId, serial: (0x4000 + position).toString(16), revoked: Date.now() },
    ...{ reason: "superseded", not_after: null } as const,
  });
  const make = (count: number) => {
    const added = Array.from({ length: count }, (_, index) => revocation(index + 1));
    return Effect.runPromise(Effect.result(makeLists(world.ca, { signer: world.ca, added, at: new Date() })));
  };
  const [made] = Result.getOrThrow(await make(shortEntriesMax));
  assert.is(Result.getOrThrow(revokedEntries(Result.getOrThrow(parseCrl(made!.der)))).length, shortEntriesMax);
  assert.is(asked.length, 0);
  assert.ok(Result.isFailure(await make(shortEntriesMax + 1)));
  assert.is(asked.length, 1);
  world.close();
});

test("a thread that dies fails its question and is started again", async () => {
  const world = await testAuthority();
  await crowd(world);
  const due = new Date(Date.now() + listLifetimeMs / 2);
  const { lists } = world.ca.register;
  const ask = lists.ask.bind(lists);
  const asked = new Promise<void>((resolve) => {
    Object.assign(lists, { ask: (...question: Parameters<typeof ask>) => (resolve(), ask(...question)) });
  });
  const renewing = Effect.runPromise(Effect.result(renewLists(world.ca, due)));
  await asked;
  await new Promise((resolve) => setTimeout(resolve, 1));
  lists.end();
  const failed = await renewing;
  assert.ok(Result.isFailure(failed));
  assert.is(failed.failure._tag, "RegisterFailure", "bug: it was called signer-unavailable");
  assert.is(await Effect.runPromise(renewLists(world.ca, due)), "renewed");
  world.close();
});

test.run();
