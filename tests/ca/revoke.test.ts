/** A revocation and the lists that carry it are one transaction; numbers only grow. */
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type CrlKind, crlOf, derOf, enterNumber, enterRevocations, lastNumber } from "../../actors/ca/crl_rows.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import { baseLifetimeMs, listLifetimeMs, wholeListBytesMax } from "../../actors/ca/compose_lists.ts";
import { reenrol } from "../../actors/ca/reenrol.ts";
import { renewLists, revoke } from "../../actors/ca/revoke.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { parseCrl } from "../../pki/crl.ts";
import { revokedEntries } from "../../pki/issue/revoked_entries.ts";
import { codeOf, start, type TestAuthority, testAuthority, testCsr } from "../support/authority.ts";

const test = suite("revocation lists of the CA");
const later = (ms: number) => new Date(+start + ms);
const hourMs = 3_600_000;
const address = "10.0.0.1";

async function node(world: TestAuthority, name: string, at = start, role: "worker" | "data" = "worker") {
  const { der: csr, keyPem } = await testCsr();
  const token = await world.token(name, { role, replaces: "yes" }, at);
  const certificate = await Effect.runPromise(enrol(world.ca, { token, csr, address }, at));
  return { certificate, keyPem, serial: Result.getOrThrow(parseCertificate(certificate)).serial };
}

/** A list of the register, read. */
function list({ ca }: TestAuthority, kind: CrlKind = "complete") {
  const row = Result.getOrThrow(ca.register.read((rows) => {
    const found = crlOf(rows, ca.issuerId, kind);
    return found && { ...found, der: derOf(rows, found) };
  }));
  if (row === undefined) return undefined;
  const read = Result.getOrThrow(parseCrl(row.der));
  const serials = Result.getOrThrow(revokedEntries(read)).map(({ serial }) => serial);
  return { row, read, serials, number: BigInt(row.number), base: read.baseNumber };
}

/** Many revocations of an earlier time. */
function crowd({ ca }: TestAuthority, count: number, at: Date): void {
  const rows = Array.from({ length: count }, (_, index) => ({
    position: index + 1,
    issuer: ca.issuerId,
    serial: (0x4000_0000 + index).toString(16).padEnd(40, "7"),
    revoked: +at,
    reason: "superseded" as const,
    not_after: null,
  }));
  Result.getOrThrow(ca.register.transaction((register) => Result.succeed(enterRevocations(register, rows))));
}

test("every unexpired certificate of a name is listed, in a list with a higher number", async () => {
  const world = await testAuthority();
  const [first, second, other] = [await node(world, "a"), await node(world, "a"), await node(world, "b")];
  await Effect.runPromise(renewLists(world.ca, start));
  const before = list(world)!;
  assert.equal(before.serials, []);
  const { certificates, number } = await Effect.runPromise(revoke(world.ca, { name: "a" }, "keyCompromise", start));
  const after = list(world)!;
  assert.equal(after.serials.toSorted(), [first.serial, second.serial].toSorted());
  assert.not(after.serials.includes(other.serial));
  assert.is(certificates.length, 2);
  assert.is(number, String(after.number));
  assert.ok(after.number > before.number);
  assert.is(after.row.next_update - +start, listLifetimeMs);
  const again = await Effect.runPromise(revoke(world.ca, { name: "a" }, "keyCompromise", later(1_000)));
  assert.equal(again, { certificates: [], unlisted: [], number, gap: undefined, refusal: undefined });
  world.close();
});

test("a serial takes the certificates that renew it along, and not the ones before it", async () => {
  const world = await testAuthority();
  const first = await node(world, "a");
  const renew = async (certificate: Uint8Array) => {
    const csr = (await testCsr("a", first.keyPem)).der;
    return await Effect.runPromise(reenrol(world.ca, { certificate, csr, address }, start));
  };
  const second = await renew(first.certificate);
  const third = await renew(second);
  const serialOf = (der: Uint8Array) => Result.getOrThrow(parseCertificate(der)).serial;
  await Effect.runPromise(revoke(world.ca, { serial: serialOf(second).toUpperCase() }, "unspecified", start));
  assert.equal(list(world)!.serials.toSorted(), [serialOf(second), serialOf(third)].toSorted());
  world.close();
});

test("a name of two roles has to be said whole, and an unknown one is refused", async () => {
  const world = await testAuthority();
  await node(world, "a");
  await node(world, "a", start, "data");
  const ask = (target: { name: string } | { serial: string }) => codeOf(revoke(world.ca, target, "unspecified", start));
  assert.is(await ask({ name: "a" }), "name-unknown");
  assert.is(await ask({ name: "spiffe://acme.example/data/a" }), "done");
  assert.is(await ask({ name: "nobody" }), "name-unknown");
  assert.is(await ask({ serial: "0abc" }), "name-unknown");
  assert.is(list(world)!.serials.length, 1);
  world.close();
});

test("bug: the token of a name without a certificate could not be made void, nor one for an identity in hardware of a name that had", async () => {
  const world = await testAuthority();
  const revoked = (name: string) => codeOf(revoke(world.ca, { name }, "unspecified", start));
  const used = async (token: string) =>
    await codeOf(enrol(world.ca, { token, csr: (await testCsr()).der, address }, start));
  const whole = "spiffe://acme.example/worker/w9";
  for (const [name, key] of [["w9", "tls"], [whole, "tls"], ["w9", "hardware"], [whole, "hardware"]] as const) {
    const token = await world.token("w9", { key });
    assert.is(await revoked(name), "done", `${name} ${key}`);
    assert.is(await used(token), "token-unknown", `${name} ${key}`);
    assert.is(await revoked(name), "name-unknown", "none is left");
  }
  const hardware = await world.token("w9", { key: "hardware" });
  assert.is(await revoked("spiffe://acme.example/identity/w9"), "done");
  assert.is(await used(hardware), "token-unknown");
  await node(world, "a");
  const tokens = [
    await world.token("a", { key: "hardware", replaces: "yes" }),
    await world.token("a", { role: "data" }),
  ];
  assert.is(await revoked("a"), "done");
  assert.equal(
    [await used(tokens[0]!), await used(tokens[1]!)],
    ["token-unknown", "done"],
    "another role is another name",
  );
  await world.token("two");
  await world.token("two", { role: "data" });
  assert.is(await revoked("two"), "name-unknown", "it is ambiguous");
  await world.token("expired", { lifetimeMs: 1 }, later(-1));
  assert.is(await revoked("expired"), "name-unknown");
  world.close();
});

test("numbers are the seconds since 1970, or one more than the last, also with a clock that goes back", async () => {
  const world = await testAuthority();
  await node(world, "a");
  const seconds = BigInt(+start / 1_000);
  const numberAfter = async (name: string, at: Date) =>
    BigInt((await Effect.runPromise(revoke(world.ca, { name }, "unspecified", at))).number);
  assert.is(await numberAfter("a", start), seconds);
  await node(world, "b");
  assert.is(await numberAfter("b", start), seconds + 1n);
  await node(world, "c", later(-hourMs));
  assert.is(await numberAfter("c", later(-hourMs)), seconds + 2n);
  Result.getOrThrow(
    world.ca.register.transaction((rows) => Result.succeed(enterNumber(rows, world.ca.issuerId, 2n ** 70n))),
  );
  await node(world, "d");
  assert.is(await numberAfter("d", start), 2n ** 70n + 1n);
  world.close();
});

test("lists are renewed at a third of their time", async () => {
  const world = await testAuthority();
  const renewed = (ms: number) => Effect.runPromise(renewLists(world.ca, later(ms)));
  assert.is(await renewed(0), "renewed");
  const third = listLifetimeMs / 3 - 5 * 60_000;
  assert.is(await renewed(third - 1), "in-force");
  assert.is(await renewed(third), "renewed");
  world.close();
});

test("bug: lists that were made while the clock was ahead stayed in force when it was right again", async () => {
  for (const count of [0, 700]) {
    const world = await testAuthority();
    const day = 24 * hourMs;
    crowd(world, count, start);
    const kinds = count === 0 ? ["complete"] as const : ["base", "delta", "complete"] as const;
    const renewed = (ms: number) => Effect.runPromise(renewLists(world.ca, later(ms)));
    const rows = () => kinds.map((kind) => list(world, kind)!.row);
    assert.is(await renewed(3 * day), "renewed");
    const ahead = rows();
    assert.is(await renewed(3 * day - 5 * 60_000), "in-force", "they are dated back by as much");
    assert.is(await renewed(0), "renewed");
    const right = rows();
    for (const [index, row] of right.entries()) {
      assert.ok(row.this_update <= +start, row.kind);
      assert.ok(BigInt(row.number) > BigInt(ahead[index]!.number), row.kind);
    }
    assert.is(await renewed(60_000), "in-force");
    assert.equal(rows(), right);
    world.close();
  }
});

test("a serial stays listed until 30 days after its certificate's end", async () => {
  const world = await testAuthority();
  await node(world, "a");
  await Effect.runPromise(revoke(world.ca, { name: "a" }, "unspecified", start));
  for (const [days, count] of [[60, 1], [60.001, 0]] as const) {
    await Effect.runPromise(renewLists(world.ca, later(days * 24 * hourMs)));
    const sign = later(days * 24 * hourMs);
    await node(world, `n${days}`, sign);
    await Effect.runPromise(revoke(world.ca, { name: `n${days}` }, "unspecified", sign));
    assert.is(list(world)!.serials.length, count + (days === 60 ? 1 : 2), `${days} days`);
  }
  world.close();
});

test("above 32 kB there is a base, with a cumulative delta from its first moment and a complete list of its number", async () => {
  const world = await testAuthority();
  crowd(world, 700, start);
  await Effect.runPromise(renewLists(world.ca, start));
  const [complete, base, delta] = [list(world)!, list(world, "base")!, list(world, "delta")!];
  assert.ok(complete.row.der.length > wholeListBytesMax);
  assert.is(base.row.next_update - +start, baseLifetimeMs);
  assert.equal([delta.number, complete.number], [base.number + 1n, base.number + 1n]);
  assert.is(delta.base, String(base.number));
  assert.equal([base.serials.length, delta.serials.length, complete.serials.length], [700, 0, 700]);
  const revoked: string[] = [];
  for (const name of ["a", "b"]) {
    revoked.push((await node(world, name)).serial);
    await Effect.runPromise(revoke(world.ca, { name }, "unspecified", later(1_000)));
    const [nextDelta, nextComplete] = [list(world, "delta")!, list(world)!];
    assert.equal(nextDelta.serials, revoked, "a delta holds all since its base");
    assert.is(nextDelta.number, nextComplete.number);
    assert.is(nextComplete.serials.length, 700 + revoked.length);
    assert.is(list(world, "base")!.row.sha256, base.row.sha256);
  }
  assert.ok(list(world, "delta")!.row.der.length < 1_000);
  world.close();
});

test("a new base comes when the delta passes 32 kB, and after a third of 14 days", async () => {
  const world = await testAuthority();
  crowd(world, 700, start);
  await Effect.runPromise(renewLists(world.ca, start));
  const first = list(world, "base")!;
  const third = baseLifetimeMs / 3 - 5 * 60_000;
  await Effect.runPromise(renewLists(world.ca, later(third - 1)));
  assert.is(list(world, "base")!.number, first.number);
  await Effect.runPromise(renewLists(world.ca, later(third + listLifetimeMs)));
  const second = list(world, "base")!;
  assert.ok(second.number > first.number);
  crowd(world, 1_400, start); // the first 700 are there
  await Effect.runPromise(renewLists(world.ca, later(third + 2 * listLifetimeMs)));
  const third_ = list(world, "base")!;
  assert.ok(third_.number > second.number);
  assert.equal([third_.serials.length, list(world, "delta")!.serials.length], [1_400, 0]);
  world.close();
});

test("a certificate of another CA is told apart: no list of this one has it", async () => {
  const world = await testAuthority();
  const { serial } = await node(world, "a");
  await Effect.runPromise(renewLists(world.ca, start));
  const change = "UPDATE certificates SET issuer = 'another' WHERE serial = ?";
  Result.getOrThrow(world.ca.register.transaction((rows) => Result.succeed(rows.change(change, serial))));
  const { certificates, unlisted } = await Effect.runPromise(revoke(world.ca, { name: "a" }, "unspecified", start));
  assert.equal([certificates.length, unlisted.map((each) => each.serial)], [1, [serial]]);
  assert.equal(list(world)!.serials, []);
  world.close();
});

test("after a restart the lists are the same bytes, and the next number is higher", async () => {
  const world = await testAuthority();
  await node(world, "a");
  await Effect.runPromise(revoke(world.ca, { name: "a" }, "unspecified", start));
  const before = list(world)!;
  const ca = world.reopen();
  const again = list({ ...world, ca })!;
  assert.equal([...again.row.der], [...before.row.der]);
  assert.is(Result.getOrThrow(ca.register.read((rows) => lastNumber(rows, ca.issuerId))), before.number);
  world.close();
});

test.run();
