/** What an operator sees and revokes is read in pages, however many certificates a name has. */
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { pageRows } from "../../actors/ca/certificate_rows.ts";
import { type NodesPage, operatorStatus, pageOfNodes } from "../../actors/ca/operator_views.ts";
import type { RegisterRows } from "../../actors/ca/register.ts";
import { enterBackup, enterRestored } from "../../actors/ca/restored_rows.ts";
import { renewLists, revoke } from "../../actors/ca/revoke.ts";
import { start, type TestAuthority, testAuthority } from "../support/authority.ts";

const test = suite("what an operator sees of a CA");
const dayMs = 24 * 3_600_000;
/** Three pages. */
const count = 2 * pageRows + 100;
const serialOf = (index: number) => (0x4000_0000 + index).toString(16).padEnd(40, "1");

/** Certificates of one name, each renewing the one before; those of `ended` days ago have ended. */
function line({ ca }: TestAuthority, name: string, from: number, ended = 0): void {
  const sql = "INSERT INTO certificates VALUES (?, ?, ?, ?, ?, 'key', ?, ?, NULL, ?, NULL)";
  const fingerprint = (index: number) => `${name}-${index}`;
  Result.getOrThrow(ca.register.transaction((rows) => {
    for (let index = 0; index < count; index++) {
      rows.change(
        sql,
        ...[fingerprint(index), ca.issuerId, serialOf(from + index), `spiffe://acme.example/worker/${name}`, name],
        +start - dayMs,
        +start + (ended === 0 ? dayMs : -ended * dayMs) + index,
        index === 0 ? null : fingerprint(index - 1),
      );
    }
    return Result.void;
  }));
}

interface Page {
  readonly nodes: readonly { readonly identity: string; readonly serial: string }[];
  readonly after?: NonNullable<NodesPage["after"]>;
}

/** All pages of a question. */
async function pagesOf(world: TestAuthority, name?: string): Promise<readonly Page[]> {
  const pages: Page[] = [];
  do {
    const after = pages.at(-1)?.after;
    const asked = { ...(name === undefined ? {} : { name }), ...(after === undefined ? {} : { after }) };
    pages.push(await Effect.runPromise(pageOfNodes(world.ca, asked, start)) as Page);
  } while (pages.at(-1)?.after !== undefined);
  return pages;
}

test("pages have each certificate that has not ended once, of all names and of one", async () => {
  const world = await testAuthority();
  line(world, "a", 0);
  line(world, "b", count);
  line(world, "old", 2 * count, 2);
  for (const [name, total] of [[undefined, 2 * count], ["a", count], ["old", 0], ["none", 0]] as const) {
    const pages = await pagesOf(world, name);
    const serials = pages.flatMap(({ nodes }) => nodes.map(({ serial }) => serial));
    assert.equal([serials.length, new Set(serials).size], [total, total], String(name));
    assert.ok(pages.every(({ nodes }) => nodes.length <= pageRows));
  }
  const status = await Effect.runPromise(operatorStatus(world.ca, start)) as { certificates: number };
  assert.is(status.certificates, 2 * count);
  world.close();
});

test("a name of many certificates is revoked as a whole, those that ended lately too", async () => {
  const world = await testAuthority();
  line(world, "a", 0);
  line(world, "old", count, 2);
  line(world, "older", 2 * count, 31);
  await Effect.runPromise(renewLists(world.ca, start));
  const revoked = async (name: string) =>
    (await Effect.runPromise(revoke(world.ca, { name }, "superseded", start))).certificates.length;
  assert.equal([await revoked("a"), await revoked("a"), await revoked("old")], [count, 0, count]);
  const older = await Effect.runPromise(Effect.result(revoke(world.ca, { name: "older" }, "superseded", start)));
  assert.ok(Result.isFailure(older), "nothing of it could be renewed");
  const rows = world.ca.register.read((all) => all.first<{ n: number }>("SELECT count(*) AS n FROM revocations")!.n);
  assert.is(Result.getOrThrow(rows), 2 * count);
  world.close();
});

test("bug: while a name of many certificates was revoked, the lists of each page stayed in the register to its end", async () => {
  const counts: number[] = [];
  let pieces = () => 0;
  const world = await testAuthority({
    signer: (real) => ({ ...real, sign: (bytes) => (counts.push(pieces()), real.sign(bytes)) }),
  });
  const { register } = world.ca;
  const sql = "SELECT count(*) AS n FROM crl_pieces";
  pieces = () => Result.getOrThrow(register.read((rows) => rows.first<{ n: number }>(sql)!.n));
  line(world, "a", 0);
  line(world, "b", count);
  for (const name of ["b", "a"]) await Effect.runPromise(revoke(world.ca, { name }, "superseded", start));
  assert.ok(Math.max(...counts) <= 3, `${counts}: a complete list, a base and a delta`);
  world.close();
});

test("bug: serials of a restored register's gap made the number of certificates too low", async () => {
  const world = await testAuthority();
  line(world, "a", 0);
  Result.getOrThrow(world.ca.register.transaction((rows) => Result.succeed(enterRestored(rows, start))));
  for (const serial of ["abc", serialOf(count - 1)]) {
    await Effect.runPromise(revoke(world.ca, { serial }, "superseded", start));
  }
  const certificates = async (at = start) => (await Effect.runPromise(operatorStatus(world.ca, at))).certificates;
  assert.is(await certificates(), count - 1);
  assert.is(await certificates(new Date(+start + 2 * dayMs)), 0, "all have ended");
  world.close();
});

test("bug: a serial of a restored register's gap whose revocation was not signed was in no status", async () => {
  const toggled = { isAway: false };
  const world = await testAuthority({
    signer: (real) => ({
      ...real,
      sign: (bytes) => toggled.isAway ? Promise.reject(new Error("token removed")) : real.sign(bytes),
    }),
  });
  Result.getOrThrow(world.ca.register.transaction((rows) => Result.succeed(enterRestored(rows, start))));
  const act = (serial: string, at: Date) =>
    Effect.runPromise(Effect.result(revoke(world.ca, { serial }, "superseded", at)));
  const unsigned = async (at = start) => (await Effect.runPromise(operatorStatus(world.ca, at))).unsigned_serials;
  assert.equal(await unsigned(), []);
  toggled.isAway = true;
  const later = new Date(+start + 60_000);
  for (const [serial, at] of [["ABC", later], ["0def", start]] as const) {
    assert.ok(Result.isFailure(await act(serial, at)), "its lists are not signed");
  }
  const entered = [{ serial: "def", since: start.toISOString() }, { serial: "abc", since: later.toISOString() }];
  assert.equal(await unsigned(), entered);
  assert.equal(await unsigned(new Date(+start + 398 * dayMs)), [], "its certificate has ended");
  toggled.isAway = false;
  assert.ok(Result.isSuccess(await act("abc", later)));
  assert.equal(await unsigned(), entered.slice(0, 1));
  world.close();
});

test("the gap of a restored register is shown while certificates of it may be in force", async () => {
  const world = await testAuthority();
  const gap = async (at = start) => (await Effect.runPromise(operatorStatus(world.ca, at))).gap;
  const enter = (change: (rows: RegisterRows) => void) =>
    Result.getOrThrow(world.ca.register.transaction((rows) => Result.succeed(change(rows))));
  assert.is(await gap(), null);
  enter((rows) => enterRestored(rows, start));
  assert.equal(await gap(), { from: null, to: start.toISOString() }, "a mere copy has no time of its own");
  const backup = new Date(+start - 60_000);
  enter((rows) => rows.change("DELETE FROM facts"));
  enter((rows) => enterBackup(rows, backup));
  enter((rows) => enterRestored(rows, start));
  assert.equal(await gap(), { from: backup.toISOString(), to: start.toISOString() });
  assert.is(await gap(new Date(+start + 398 * dayMs)), null);
  world.close();
});

test("a serial takes all that renew it along, over many pages", async () => {
  const world = await testAuthority();
  line(world, "a", 0);
  const { certificates } = await Effect.runPromise(revoke(world.ca, { serial: serialOf(10) }, "superseded", start));
  assert.is(certificates.length, count - 10);
  assert.is(new Set(certificates.map(({ serial }) => serial)).size, count - 10);
  world.close();
});

test.run();
