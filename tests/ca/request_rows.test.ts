/** Enrolments that wait for an operator: one answer, which can be fetched again for a day. */
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { enrol } from "../../actors/ca/enrol.ts";
import {
  answerLifetimeMs,
  decide,
  enterRequest,
  openRequests,
  requestLifetimeMs,
  type RequestMark,
  requestsPageRows,
} from "../../actors/ca/request_rows.ts";
import { revoke } from "../../actors/ca/revoke.ts";
import { codeOf, start, testAuthority, testCsr } from "../support/authority.ts";

const test = suite("enrolments that wait for an operator");
const later = (ms: number) => new Date(+start + ms);
const address = "10.0.0.1";

/** A CA whose workers are approved, and one worker that has asked. */
async function asked() {
  const world = await testAuthority({ approvedRoles: ["worker"] });
  const [token, { der: csr }] = [await world.token("w-1"), await testCsr()];
  const poll = (at = start) => codeOf(enrol(world.ca, { token, csr, address }, at));
  assert.is(await poll(), "request-pending");
  const [request] = Result.getOrThrow(world.ca.register.read((rows) => openRequests(rows, start)));
  const id = request!.id;
  return {
    ...world,
    id,
    poll,
    text: token,
    decide: (decision: "approved" | "denied", at = start) => codeOf(decide(world.ca, { id, decision }, at)),
    issue: (at: Date) => Effect.runPromise(enrol(world.ca, { token, csr, address }, at)),
  };
}

test("a request waits until it is approved; the answer is the same for a day", async () => {
  const world = await asked();
  assert.equal(world.alarms.map(({ kind }) => kind), ["request-pending"]);
  assert.is(await world.poll(later(requestLifetimeMs - 1)), "request-pending", "longer than its token");
  assert.is(await world.decide("approved", later(1_000)), "done");
  const end = 1_000 + answerLifetimeMs;
  const first = await world.issue(later(2_000));
  assert.equal([...await world.issue(later(end - 1))], [...first]);
  assert.is(await world.poll(later(end)), "token-expired");
  assert.is(await world.decide("denied", later(3_000)), "request-unknown", "it is decided");
  world.close();
});

test("polling is no failure, another key is", async () => {
  const world = await asked();
  for (let count = 0; count < 20; count++) assert.is(await world.poll(), "request-pending");
  const other = { token: world.text, csr: (await testCsr()).der, address };
  assert.is(await codeOf(enrol(world.ca, other, start)), "token-used");
  assert.is(world.alarms.at(-1)?.kind, "token-used");
  world.close();
});

test("a denied request has its answer for a day", async () => {
  const world = await asked();
  assert.is(await world.decide("denied"), "done");
  assert.is(await world.poll(later(answerLifetimeMs - 1)), "request-denied");
  assert.is(await world.poll(later(answerLifetimeMs)), "token-expired");
  world.close();
});

test("a request ends after seven days, and an unknown one cannot be decided", async () => {
  const world = await asked();
  assert.is(await world.decide("approved", later(requestLifetimeMs)), "request-unknown");
  assert.is(await world.poll(later(requestLifetimeMs)), "token-expired");
  assert.is(await codeOf(decide(world.ca, { id: "00", decision: "approved" }, start)), "request-unknown");
  world.close();
});

test("an approval gives no second certificate of a name that was enrolled meanwhile", async () => {
  const world = await asked();
  assert.is(await world.decide("approved"), "done");
  const token = await world.token("w-1");
  // A second request of the same name, approved and fetched first.
  const csr = (await testCsr()).der;
  assert.is(await codeOf(enrol(world.ca, { token, csr, address }, start)), "request-pending");
  const [second] = Result.getOrThrow(world.ca.register.read((rows) => openRequests(rows, start)));
  assert.is(await codeOf(decide(world.ca, { id: second!.id, decision: "approved" }, start)), "done");
  assert.is(await codeOf(enrol(world.ca, { token, csr, address }, start)), "done");
  assert.is(await world.poll(), "name-taken");
  world.close();
});

test("each of 2,500 requests is in one page, and the newest can be decided", async () => {
  const world = await testAuthority({ approvedRoles: ["worker"] });
  const count = 2 * requestsPageRows + 500;
  const id = (index: number) => index.toString(16).padStart(16, "0");
  Result.getOrThrow(world.ca.register.transaction((rows) => {
    for (let index = 0; index < count; index++) {
      const identity = `spiffe://acme.example/worker/w-${index}`;
      rows.change(
        "INSERT INTO tokens VALUES (?, 'hash', 'worker', ?, '[]', ?, 0, ?, 0, NULL, NULL)",
        ...[id(index), `w-${index}`, identity, +later(requestLifetimeMs)],
      );
      // Many came in the same moment.
      enterRequest(rows, { token: id(index), key: "key", address }, later(Math.floor(index / 1_500)));
    }
    return Result.void;
  }));
  const page = (after?: RequestMark) =>
    Result.getOrThrow(world.ca.register.read((rows) => openRequests(rows, start, after)));
  const seen: string[] = [];
  for (let rows = page(); rows.length > 0; rows = page(rows.at(-1))) seen.push(...rows.map((each) => each.id));
  assert.equal([seen.length, new Set(seen).size], [count, count]);
  assert.is(await codeOf(decide(world.ca, { id: id(count - 1), decision: "approved" }, start)), "done");
  assert.is(await codeOf(decide(world.ca, { id: id(count - 1), decision: "denied" }, start)), "request-unknown");
  world.close();
});

test("revoking a name ends its requests", async () => {
  const world = await testAuthority({ approvedRoles: ["worker"] });
  const enrolled = async (name: string) => {
    const [token, { der: csr }] = [await world.token(name, { replaces: "yes" }), await testCsr()];
    const ask = () => codeOf(enrol(world.ca, { token, csr, address }, start));
    return { ask, state: await ask() };
  };
  const first = await enrolled("w-1");
  const [request] = Result.getOrThrow(world.ca.register.read((rows) => openRequests(rows, start)));
  await Effect.runPromise(decide(world.ca, { id: request!.id, decision: "approved" }, start));
  assert.is(await first.ask(), "done");
  const second = await enrolled("w-1");
  assert.is(second.state, "request-pending");
  await Effect.runPromise(revoke(world.ca, { name: "w-1" }, "unspecified", start));
  assert.equal(Result.getOrThrow(world.ca.register.read((rows) => openRequests(rows, start))), []);
  assert.is(await second.ask(), "token-unknown");
  world.close();
});

test("bug: an enrolment that waited could still be approved after a token that replaces was made", async () => {
  const world = await testAuthority({ approvedRoles: ["worker"] });
  const [token, { der: csr }] = [await world.token("w-1"), await testCsr()];
  const ask = () => codeOf(enrol(world.ca, { token, csr, address }, start));
  assert.is(await ask(), "request-pending");
  const waiting = () => Result.getOrThrow(world.ca.register.read((rows) => openRequests(rows, start)));
  const [request] = waiting();
  await world.token("w-1", { replaces: "yes" });
  assert.equal(waiting(), []);
  assert.is(await codeOf(decide(world.ca, { id: request!.id, decision: "approved" }, start)), "request-unknown");
  assert.is(await ask(), "token-unknown");
  world.close();
});

test.run();
