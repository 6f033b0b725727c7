/** What enough persons approved and what lapsed without being done is reported, and shown to operators. */
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { AuditEvent } from "../../actors/audit/audit_record.ts";
import type { CaAlarm } from "../../actors/ca/alarm.ts";
import { requestApprovals, resumeApproved, waitingRequests } from "../../actors/ca/approval_ceremony.ts";
import { endedApprovalsMax, lapse } from "../../actors/ca/approval_rows.ts";
import { arePermitted, configuredCas, takeApprovedCas } from "../../actors/ca/authorities_fact.ts";
import type { CertificateAuthority } from "../../actors/ca/certificate_authority.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import { lapsedShownMs, lapsedSince } from "../../actors/ca/lapsed_rows.ts";
import { requestPolicy } from "../../actors/ca/operator_acts.ts";
import { operatorStatus } from "../../actors/ca/operator_views.ts";
import type { RegisterRows } from "../../actors/ca/register.ts";
import { requestLifeMaxMs } from "../../pki/approval/verify_approvals.ts";
import { policyOfKeys, testApprovers } from "../support/approvers.ts";
import { codeOf, start, testAuthority, testCsr } from "../support/authority.ts";

const test = suite("requests that lapse although they were approved");
const later = (ms: number) => new Date(+start + ms);
const end = later(requestLifeMaxMs);
const address = "10.0.0.1";

/** A CA with approvers whose key can be away; its alarms but for those about what waits. */
async function made() {
  const token = { isAway: false };
  const world = await testAuthority({
    signer: (real) => ({
      ...real,
      sign: (bytes) => token.isAway ? Promise.reject(new Error("the key is away")) : real.sign(bytes),
    }),
  });
  const approvers = await testApprovers(world.ca);
  const alarms = (): readonly CaAlarm[] => world.alarms.filter(({ kind }) => kind !== "approvals-pending");
  const asked = async (name: string) => {
    const waiting = () => read(world.ca, (rows) => waitingRequests(rows, start)).map(({ id }) => id);
    const before = waiting();
    const request = { token: await world.token(name), csr: (await testCsr()).der, address };
    assert.is(await codeOf(enrol(world.ca, request, start)), "request-pending");
    return waiting().find((id) => !before.includes(id))!;
  };
  /** An enrolment that two persons have approved and that waits for the CA's key. */
  const approvedAndAway = async () => {
    const id = await asked("w-1");
    await approvers.approve(id, "alice", start);
    token.isAway = true;
    assert.match(await approvers.approve(id, "bob", start), /^open: .*the key is away/);
    return id;
  };
  return { ...world, ...approvers, token, shown: alarms, asked, approvedAndAway };
}

const read = <A>({ register }: CertificateAuthority, query: (rows: RegisterRows) => A): A =>
  Result.getOrThrow(register.read(query));
const change = (ca: CertificateAuthority, act: (rows: RegisterRows) => void): void =>
  Result.getOrThrow(ca.register.transaction<void, never>((rows) => Result.succeed(act(rows))));
const statusOf = async (ca: CertificateAuthority, at: Date) => (await Effect.runPromise(operatorStatus(ca, at))).lapsed;

test("bug: an enrolment that two persons had approved expired without an alarm", async () => {
  const { ca, token, shown, asked, approve, approvedAndAway, close } = await made();
  const recorded: AuditEvent[] = [];
  const keep = (events: readonly AuditEvent[]) =>
    void recorded.push(...events.filter(({ type }) => type === "approval.lapsed"));
  ca.register.recordTo({ record: (event) => keep([event]), recordNow: keep });
  const unapproved = await asked("w-2");
  await approve(unapproved, "alice", start);
  const id = await approvedAndAway();
  await Effect.runPromise(resumeApproved(ca, later(requestLifeMaxMs - 1)));
  assert.equal(shown().map(({ kind }) => kind), ["approved-not-done", "approved-not-done"], "it is tried again");
  assert.equal(await statusOf(ca, end), []);
  token.isAway = false;
  for (const at of [end, later(requestLifeMaxMs + 60_000)]) await Effect.runPromise(resumeApproved(ca, at));
  const lapsed = { operation: "issue-role:worker", id, reason: "expired" };
  assert.equal(shown().slice(2), [{ kind: "approved-lapsed", identity: "issue-role:worker", ...lapsed }], "once");
  const expected = [{ ...lapsed, approvers: ["alice", "bob"], at: end.toISOString() }];
  assert.equal(await statusOf(ca, later(requestLifeMaxMs + lapsedShownMs - 1)), expected);
  assert.equal(await statusOf(ca, later(requestLifeMaxMs + lapsedShownMs)), []);
  assert.is(recorded.length, 2);
  for (const detail of [{ id: unapproved }, { id, approved: true }]) {
    const [event] = recorded.filter((each) => each.detail?.["id"] === detail.id);
    assert.equal(event, { type: "approval.lapsed", outcome: "expired", detail });
  }
  close();
});

test("one that lapses while the CA is off, or when the approvers change, is reported too", async () => {
  const world = await made();
  const id = await world.approvedAndAway();
  const policy = policyOfKeys(world.keys, ["alice", "bob"]);
  const { id: changing } = await Effect.runPromise(requestPolicy(world.ca, policy.line, start));
  for (const person of ["alice", "bob"] as const) await world.approve(changing, person, start);
  assert.equal(world.shown().filter(({ kind }) => kind === "approved-lapsed"), []);
  const again = world.reopen();
  await Effect.runPromise(resumeApproved(again, later(60_000)));
  const { kind, ...fields } = world.shown().at(-1)!;
  assert.equal([kind, "id" in fields && fields.id], ["approved-lapsed", id]);
  const [lapsed] = await statusOf(again, later(60_000));
  assert.equal([lapsed?.reason, lapsed?.approvers], ["the approvers changed", ["alice", "bob"]]);
  world.close();
});

test("what cannot be done any more is reported as lapsed, with the reason, and not as to be tried again", async () => {
  const { ca, shown, asked, approve, close } = await made();
  const id = await asked("w-1");
  change(ca, (rows) => rows.change("UPDATE tokens SET void = 1"));
  await approve(id, "alice", start);
  assert.match(await approve(id, "carol", start), /^lapsed: /);
  const [only, ...others] = shown();
  assert.equal(others, []);
  assert.equal([only?.kind, only?.identity], ["approved-lapsed", "issue-role:worker"]);
  assert.ok(only?.kind === "approved-lapsed" && /not one of this enrolment/.test(only.reason));
  close();
});

test("bug: an approved step of a rotation that was not taken expired without an alarm", async () => {
  const { ca, shown, approve, close } = await made();
  const cas = configuredCas(ca);
  const request = async (letters: string) => {
    const next = [letters.repeat(32)];
    const { id } = await Effect.runPromise(
      ca.inTurn(requestApprovals(ca, { name: "rotate-ca", ...cas, next }, start)),
    );
    await approve(id, "alice", start);
    assert.is(await approve(id, "bob", start), "executed");
    return { id, cas: { ...cas, next } };
  };
  const taken = await request("ab");
  change(ca, (rows) => takeApprovedCas(rows, taken.cas));
  const left = await request("cd");
  await Effect.runPromise(resumeApproved(ca, later(requestLifeMaxMs - 1)));
  assert.equal([shown(), read(ca, (rows) => arePermitted(rows, left.cas, start))], [[], true]);
  for (const at of [end, end]) await Effect.runPromise(resumeApproved(ca, at));
  assert.equal(shown().map((each) => [each.kind, "id" in each && each.id]), [["approved-lapsed", left.id]]);
  const [lapsed, ...others] = await statusOf(ca, end);
  assert.equal([lapsed?.id, lapsed?.operation, lapsed?.at, others], [left.id, "rotate-ca", end.toISOString(), []]);
  assert.match(lapsed?.reason ?? "", /not started with the approved CAs/);
  close();
});

test("bug: an approved step of a rotation stayed permitted after the approvers had changed", async () => {
  const world = await made();
  const { ca, shown, approve, close } = world;
  const recorded: AuditEvent[] = [];
  ca.register.recordTo({ record: () => {}, recordNow: (events) => void recorded.push(...events) });
  const cas = { ...configuredCas(ca), next: ["ab".repeat(32)] };
  const { id } = await Effect.runPromise(ca.inTurn(requestApprovals(ca, { name: "rotate-ca", ...cas }, start)));
  for (const person of ["alice", "bob"] as const) await approve(id, person, start);
  const isPermitted = () => read(ca, (rows) => arePermitted(rows, cas, start));
  assert.ok(isPermitted());
  const policy = policyOfKeys(world.keys, ["bob", "carol"]); // alice has left
  const { id: changing } = await Effect.runPromise(requestPolicy(ca, policy.line, start));
  for (const person of ["alice", "bob"] as const) await approve(changing, person, start);
  assert.not(isPermitted());
  const [event] = recorded.filter(({ type }) => type === "approval.lapsed");
  assert.equal([event?.outcome, event?.detail], ["the approvers changed", { id, approved: true }]);
  await Effect.runPromise(resumeApproved(ca, later(60_000)));
  const [alarm, ...others] = shown();
  assert.equal([alarm?.kind, alarm && "reason" in alarm && alarm.reason, others], [
    "approved-lapsed",
    "the approvers changed",
    [],
  ]);
  close();
});

test("a request that is forgotten is not shown any more", async () => {
  const { ca, approvedAndAway, close } = await made();
  const id = await approvedAndAway();
  await Effect.runPromise(resumeApproved(ca, end));
  const ended = later(requestLifeMaxMs + 1);
  const sql = `
INSERT INTO approval_requests SELECT ?, line, policy, operation, asked, expires, NULL, 'lapsed', ?
FROM approval_requests WHERE id = ?`;
  change(ca, (rows) => {
    for (let index = 0; index < endedApprovalsMax; index++) rows.change(sql, `other-${index}`, +ended, id);
  });
  assert.equal(read(ca, (rows) => lapsedSince(rows, start)).length, 1);
  change(ca, (rows) => lapse(rows, ended));
  assert.equal(read(ca, (rows) => lapsedSince(rows, start)), []);
  assert.is(read(ca, (rows) => rows.all("SELECT * FROM facts WHERE name LIKE '%lapse%'").length), 0);
  close();
});

test.run();
