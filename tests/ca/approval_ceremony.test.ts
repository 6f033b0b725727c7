/** Operations of a CA that wait for two of three persons. */
import { Buffer } from "node:buffer";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  deniedRequests,
  denyApproval,
  requestApprovals,
  resumeApproved,
  takeApproval,
  waitingRequests,
} from "../../actors/ca/approval_ceremony.ts";
import { type AuditEvent, composeLine, detailBytesMax } from "../../actors/audit/audit_record.ts";
import {
  approvalRowOf,
  approvalsOf,
  endedApprovalsMax,
  lapse,
  openApprovalsMax,
  policyOf,
} from "../../actors/ca/approval_rows.ts";
import { arePermitted, configuredCas } from "../../actors/ca/authorities_fact.ts";
import type { CertificateAuthority } from "../../actors/ca/certificate_authority.ts";
import { enterStart } from "../../actors/ca/check_approvals.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import { enrolIdentity } from "../../actors/ca/identity_enrol.ts";
import {
  requestPolicy,
  revokeByOperator,
  setFirstPolicy,
  unapprovedRevocationsMax,
} from "../../actors/ca/operator_acts.ts";
import { decide, openRequests } from "../../actors/ca/request_rows.ts";
import { revoke } from "../../actors/ca/revoke.ts";
import type { OperationName } from "../../pki/approval/approval_policy.ts";
import { parseApprovalRequest } from "../../pki/approval/approval_request.ts";
import { requestLifeMaxMs } from "../../pki/approval/verify_approvals.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { composeEnrolment } from "../../pki/enrolment_jws.ts";
import { fileSigner } from "../../pki/issue/mod.ts";
import { codeOf, start, testAuthority, type TestAuthorityOptions, testCsr } from "../support/authority.ts";
import { policyOfKeys, testApprovers } from "../support/approvers.ts";

const test = suite("operations of a CA that wait for two of three persons");
const later = (ms: number) => new Date(+start + ms);
const address = "10.0.0.1";

/** Records what a CA enters into its audit log about approvals from now on. */
function recordedBy({ register }: CertificateAuthority): readonly AuditEvent[] {
  const recorded: AuditEvent[] = [];
  const keep = (events: readonly AuditEvent[]) =>
    void recorded.push(...events.filter(({ type }) => type.startsWith("approval.")));
  register.recordTo({ record: (event) => keep([event]), recordNow: keep });
  return recorded;
}

/** A CA with approvers. */
async function approved(operations?: readonly OperationName[], options?: TestAuthorityOptions) {
  const world = await testAuthority(options);
  return { ...world, ...await testApprovers(world.ca, operations) };
}

const waiting = (ca: CertificateAuthority, at = start) =>
  Result.getOrThrow(ca.register.read((rows) => waitingRequests(rows, at)));
const stateOf = (ca: CertificateAuthority, id: string) =>
  Result.getOrThrow(ca.register.read((rows) => approvalRowOf(rows, id)?.state));

/** A worker that has asked for its certificate. */
async function asked(world: Awaited<ReturnType<typeof approved>>, name = "w-1") {
  const [token, { der: csr }] = [await world.token(name), await testCsr()];
  const ask = (at = start) => codeOf(enrol(world.ca, { token, csr, address }, at));
  assert.is(await ask(), "request-pending");
  return {
    ask,
    id: waiting(world.ca).at(-1)!.id,
    fetch: (at = start) => Effect.runPromise(enrol(world.ca, { token, csr, address }, at)),
  };
}

test("an enrolment waits for two persons; the node gets the bytes that they signed, again and again", async () => {
  const world = await approved();
  const { ask, id, fetch } = await asked(world);
  assert.equal(waiting(world.ca).map(({ operation, approvers }) => [operation, approvers]), [[
    "issue-role:worker",
    [],
  ]]);
  assert.equal(world.alarms.at(-1), {
    kind: "approvals-pending",
    identity: "spiffe://acme.example/worker/w-1",
    operation: "issue-role:worker",
    id,
  });
  assert.is(await codeOf(takeApproval(world.ca, { id: "00".repeat(8), approval: "{}" }, start)), "request-unknown");
  assert.is(await world.approve(id, "alice", start), "open");
  assert.match(await world.approve(id, "alice", start), "approval-repeated");
  assert.match(await world.approve(id, "mallory", start), "approval-unlisted");
  assert.is(await ask(), "request-pending", "one is not enough, and asking again makes no second request");
  assert.equal(waiting(world.ca).map(({ approvers }) => approvers), [["alice"]]);
  assert.is(await world.approve(id, "carol", later(1_000)), "executed");
  const line = Result.getOrThrow(world.ca.register.read((rows) => approvalRowOf(rows, id)!.line));
  const { operation } = Result.getOrThrow(parseApprovalRequest(line));
  const issued = Result.getOrThrow(parseCertificate(Uint8Array.from(await fetch(later(2_000)))));
  assert.ok(operation.name === "issue-role:worker" && Buffer.from(operation.tbs).equals(Buffer.from(issued.tbs)));
  assert.equal([...await fetch(later(3_000))], [...issued.der]);
  assert.match(await world.approve(id, "bob", later(3_000)), "approval-replayed");
  world.close();
});

test("a node's request is its own: it does not join an operator's of the same operation, as that of another operator does", async () => {
  const world = await approved();
  const { id: own } = await asked(world);
  const { line, token } = Result.getOrThrow(world.ca.register.read((rows) => approvalRowOf(rows, own)!));
  const { operation } = Result.getOrThrow(parseApprovalRequest(line));
  const idOf = async (requestedFor = {}) =>
    (await Effect.runPromise(requestApprovals(world.ca, operation, start, requestedFor))).id;
  const first = await idOf();
  const [second, node] = [await idOf(), await idOf({ token })];
  assert.is(second, first);
  assert.is(new Set([own, first, node]).size, 3);
  world.close();
});

test("of an identity in hardware, persons approve the role and the certificate; those for TLS do not wait", async () => {
  const world = await approved();
  const [token, { der: csr, keyPem }] = [await world.token("w-1", { key: "hardware" }), await testCsr("w-1")];
  const ask = () => enrol(world.ca, { token, csr, address }, start);
  assert.is(await codeOf(ask()), "request-pending");
  const [request] = waiting(world.ca);
  assert.is(request?.operation, "issue-role:worker");
  await world.approve(request!.id, "alice", start);
  assert.is(await world.approve(request!.id, "bob", start), "executed");
  const certificate = await Effect.runPromise(ask());
  const body = await composeEnrolment({
    ...{ certificate, sign: fileSigner(keyPem).sign, nonce: world.ca.nonces.make(+start) },
    csr: (await testCsr("w-1")).der,
  });
  assert.is(await codeOf(enrolIdentity(world.ca, { body: Buffer.from(body), address }, start)), "done");
  world.close();
});

test("one operator cannot approve in their place, before or after the approvers were set", async () => {
  const world = await testAuthority({ approvedRoles: ["worker"] });
  const [token, { der: csr }] = [await world.token("w-1"), await testCsr()];
  const ask = () => codeOf(enrol(world.ca, { token, csr, address }, start));
  assert.is(await ask(), "request-pending");
  const [request] = Result.getOrThrow(world.ca.register.read((rows) => openRequests(rows, start)));
  assert.is(await codeOf(decide(world.ca, { id: request!.id, decision: "approved" }, start)), "done");
  await testApprovers(world.ca);
  assert.is(await ask(), "request-pending", "the one operator's yes no longer counts");
  const other = { token: await world.token("w-2"), csr: (await testCsr()).der, address };
  assert.is(await codeOf(enrol(world.ca, other, start)), "request-pending");
  const open = Result.getOrThrow(world.ca.register.read((rows) => openRequests(rows, start)));
  assert.is(await codeOf(decide(world.ca, { id: open.at(-1)!.id, decision: "approved" }, start)), "approvals-required");
  assert.is(await codeOf(decide(world.ca, { id: open.at(-1)!.id, decision: "denied" }, start)), "done");
  assert.is(await codeOf(enrol(world.ca, other, start)), "request-denied");
  assert.equal(waiting(world.ca).length, 1);
  world.close();
});

test("a request ends after a day, and the node's next one takes its place", async () => {
  const world = await approved();
  const { ask, id } = await asked(world);
  await world.approve(id, "alice", start);
  assert.match(await world.approve(id, "bob", later(requestLifeMaxMs)), "approval-expired");
  assert.is(await ask(later(requestLifeMaxMs)), "request-pending");
  assert.is(stateOf(world.ca, id), "lapsed");
  const [next] = waiting(world.ca, later(requestLifeMaxMs));
  assert.is.not(next?.id, id);
  await world.approve(next!.id, "alice", later(requestLifeMaxMs + 1));
  assert.is(await world.approve(next!.id, "bob", later(requestLifeMaxMs + 1)), "executed");
  assert.is(await ask(later(requestLifeMaxMs + 2)), "done");
  world.close();
});

test("a denied request gives no certificate, cannot be approved, and names its operator for a day", async () => {
  const world = await approved();
  const recorded = recordedBy(world.ca);
  const { ask, id } = await asked(world);
  assert.is(await world.approve(id, "carol", start), "open");
  const deny = (at = start) => denyApproval(world.ca, { id, by: "dora" }, at);
  await Effect.runPromise(deny());
  assert.is(await ask(), "request-denied");
  const denied = (at: Date) => Result.getOrThrow(world.ca.register.read((rows) => deniedRequests(rows, at)));
  assert.equal(denied(start).map(({ state, deniedBy, approvers }) => [state, deniedBy, approvers]), [[
    "denied",
    "dora",
    ["carol"],
  ]]);
  assert.equal(denied(later(requestLifeMaxMs)), []);
  assert.equal(
    recorded.map(({ type, outcome, peer, detail }) => [type, outcome, peer, Object.keys(detail ?? {})]),
    [
      ["approval.requested", "done", "issue-role:worker", ["id", "request"]],
      ["approval.given", "done", "carol", ["id", "approval"]],
      ["approval.denied", "denied by dora", undefined, ["id"]],
    ],
  );
  assert.match(await world.approve(id, "alice", start), "is denied");
  assert.is(await codeOf(deny()), "request-unknown");
  world.close();
});

test("when the approvers change, all that waits ends: the approval of one who left counts nowhere", async () => {
  const world = await approved();
  const { ask, id } = await asked(world);
  assert.is(await world.approve(id, "carol", start), "open");
  const policy = policyOfKeys(world.keys, ["alice", "bob"]);
  const recorded = recordedBy(world.ca);
  const change = await Effect.runPromise(requestPolicy(world.ca, policy.line, start));
  assert.equal([change.threshold, change.approvers, world.alarms.at(-1)?.identity], [2, [], "change-approvers"]);
  assert.is(await world.approve(change.id, "alice", start), "open");
  assert.is(await world.approve(change.id, "carol", start), "executed", "the present ones approve, carol among them");
  assert.is(Result.getOrThrow(world.ca.register.read(policyOf))?.digest, policy.digest);
  const given = recorded.filter(({ type }) => type === "approval.given");
  assert.equal(given.map(({ peer }) => peer), ["alice", "carol"]);
  assert.equal(recorded.map(({ type }) => type).slice(-3), ["approval.executed", "approval.policy", "approval.lapsed"]);
  assert.is(stateOf(world.ca, id), "lapsed");
  assert.match(await world.approve(id, "alice", start), "approval-replayed");
  assert.is(await ask(), "request-pending");
  const next = waiting(world.ca).at(-1)!.id;
  assert.match(await world.approve(next, "carol", start), "approval-unlisted");
  assert.is(await codeOf(setFirstPolicy(world.ca, policy.line)), "approvers-refused");
  world.close();
});

test("what cannot be done now is done later; what cannot be done any more has lapsed", async () => {
  let isAway = false;
  const world = await approved(undefined, {
    signer: (real) => ({
      ...real,
      sign: (bytes) => isAway ? Promise.reject(new Error("the key is away")) : real.sign(bytes),
    }),
  });
  const first = await asked(world);
  await world.approve(first.id, "alice", start);
  isAway = true;
  assert.match(await world.approve(first.id, "bob", start), /^open: .*the key is away/);
  assert.is(world.alarms.at(-1)?.kind, "approved-not-done");
  isAway = false;
  await Effect.runPromise(resumeApproved(world.ca, later(60_000)));
  assert.is(stateOf(world.ca, first.id), "executed");
  assert.is(await first.ask(later(60_000)), "done");
  const second = await asked(world, "w-2");
  await Effect.runPromise(Effect.ignore(revoke(world.ca, { name: "w-1" }, "unspecified", start)));
  Result.getOrThrow(
    world.ca.register.transaction((rows) =>
      Result.succeed(rows.change("UPDATE tokens SET void = 1 WHERE name = 'w-2'"))
    ),
  );
  await world.approve(second.id, "alice", start);
  assert.match(await world.approve(second.id, "bob", start), /^lapsed: /);
  assert.is(stateOf(world.ca, second.id), "lapsed");
  world.close();
});

/** A request with enough approvals, of which the CA has not executed anything. */
async function approvedAndKilled(world: Awaited<ReturnType<typeof approved>>): Promise<string> {
  const { id } = await asked(world);
  await world.approve(id, "alice", start);
  const line = await world.sign(id, "bob");
  const { approver } = JSON.parse(line) as { approver: string };
  Result.getOrThrow(
    world.ca.register.transaction((rows) =>
      Result.succeed(rows.change("INSERT INTO approvals VALUES (?, ?, ?)", id, approver, line))
    ),
  );
  return id;
}

test("bug: a clock that was set back ended a request that was approved and not executed yet", async () => {
  const world = await approved();
  const id = await approvedAndKilled(world);
  await Effect.runPromise(resumeApproved(world.ca, later(-600_000)));
  assert.is(stateOf(world.ca, id), "open");
  const { kind, reason = "" } = world.alarms.at(-1) as { kind: string; reason?: string };
  assert.is(kind, "approved-not-done");
  assert.match(reason, /approval-expires-late/);
  await Effect.runPromise(resumeApproved(world.ca, later(1)));
  assert.is(stateOf(world.ca, id), "executed");
  world.close();
});

test("approved, and killed: a CA that starts executes it, unless it expired or the approvers changed", async () => {
  for (const [at, expected] of [[later(1), "executed"], [later(requestLifeMaxMs), "lapsed"]] as const) {
    const world = await approved();
    const id = await approvedAndKilled(world);
    const again = world.reopen();
    await Effect.runPromise(resumeApproved(again, at));
    await Effect.runPromise(resumeApproved(again, at));
    assert.is(stateOf(again, id), expected);
    world.close();
  }
});

test("bug: after a switch-over, requests of the former CA waited on for a day, and could not be approved", async () => {
  const world = await approved();
  const [token, { der: csr }] = [await world.token("w-1"), await testCsr()];
  const ask = (ca: CertificateAuthority) => codeOf(enrol(ca, { token, csr, address }, start));
  assert.is(await ask(world.ca), "request-pending");
  const former = waiting(world.ca)[0]!.id;
  Result.getOrThrow(enterStart(world.ca, start));
  assert.is(stateOf(world.ca, former), "open", "a start with the same CA changes nothing");
  const rotated = { ...world.ca, issuerId: "ab".repeat(32) };
  Result.getOrThrow(enterStart(rotated, start));
  assert.is(stateOf(rotated, former), "lapsed");
  assert.is(await ask(rotated), "request-pending");
  const [next, ...more] = waiting(rotated);
  assert.equal(more, []);
  for (const person of ["alice", "bob"] as const) {
    const approval = await world.sign(next!.id, person);
    await Effect.runPromise(takeApproval(rotated, { id: next!.id, approval }, start));
  }
  assert.is(await ask(rotated), "done");
  world.close();
});

test("a CA that starts executes no request with an approval that does not hold", async () => {
  const world = await approved();
  const { id } = await asked(world);
  await world.approve(id, "alice", start);
  const [line, bob] = [await world.sign(id, "alice"), await world.sign(id, "bob")];
  const { approver } = JSON.parse(bob) as { approver: string };
  const forged = JSON.stringify({ ...JSON.parse(line), approver });
  Result.getOrThrow(
    world.ca.register.transaction((rows) =>
      Result.succeed(rows.change("INSERT INTO approvals VALUES (?, ?, ?)", id, approver, forged))
    ),
  );
  await Effect.runPromise(resumeApproved(world.ca, start));
  assert.is(stateOf(world.ca, id), "lapsed");
  world.close();
});

test("a CA without approvers takes no request for approvals, and lists none", async () => {
  const world = await testAuthority();
  assert.equal(waiting(world.ca), []);
  const request = requestApprovals(world.ca, { name: "rotate-ca", ...configuredCas(world.ca) }, start);
  assert.is(await codeOf(request), "approvers-refused");
  world.close();
});

test("some revocations within an hour go at once; more wait, and are done with those that renew them", async () => {
  const world = await approved(["change-approvers", "revoke-many"]);
  const names = Array.from({ length: unapprovedRevocationsMax + 3 }, (_, index) => `w-${index}`);
  for (const name of names) {
    const request = { token: await world.token(name), csr: (await testCsr()).der, address };
    await Effect.runPromise(enrol(world.ca, request, start));
  }
  const act = (targets: readonly string[], at = start) =>
    Effect.runPromise(
      Effect.result(revokeByOperator(world.ca, targets.map((name) => ({ name })), "keyCompromise", at)),
    );
  const outcome = async (targets: readonly string[], at = start) => {
    const acted = await act(targets, at);
    return Result.isFailure(acted) ? acted.failure._tag : "done" in acted.success ? "done" : acted.success.waits.id;
  };
  assert.is(await outcome(["unknown"]), "CaRefused", "counts for nothing");
  for (const name of names.slice(0, unapprovedRevocationsMax)) assert.is(await outcome([name]), "done");
  const id = await outcome(names.slice(-3));
  assert.match(id, /^[0-9a-f]{16}$/);
  const revoked = () =>
    Result.getOrThrow(
      world.ca.register.read((rows) => rows.first<{ n: number }>("SELECT count(*) AS n FROM revocations")!.n),
    );
  assert.is(revoked(), unapprovedRevocationsMax);
  assert.is(await outcome([names[0]!]), "done", "bug: the eleventh single revocation within an hour waited");
  const token = await world.token(names.at(-1)!, { replaces: "yes" });
  await world.approve(id, "bob", start);
  assert.is(await world.approve(id, "alice", start), "executed");
  assert.is(revoked(), names.length);
  const late = { token, csr: (await testCsr()).der, address };
  assert.is(await codeOf(enrol(world.ca, late, start)), "token-unknown", "the tokens of a whole name are void");
  const two = names.slice(0, 2);
  assert.is(await outcome(two, later(3_599_999)), "CaRefused", "nothing is left to ask for");
  assert.is(await outcome(two, later(3_600_000)), "done", "an hour later the count begins again");
  assert.equal([unapprovedRevocationsMax, openApprovalsMax, endedApprovalsMax], [10, 256, 1_000]);
  world.close();
});

test("where revoke-many is not listed, any number is revoked at once, and what was done is told for each name", async () => {
  const world = await approved(["change-approvers"]);
  const names = Array.from({ length: unapprovedRevocationsMax + 2 }, (_, index) => `w-${index}`);
  for (const name of names) {
    const request = { token: await world.token(name), csr: (await testCsr()).der, address };
    await Effect.runPromise(enrol(world.ca, request, start));
  }
  const targets = names.map((name) => ({ name }));
  const acted = await Effect.runPromise(revokeByOperator(world.ca, targets, "superseded", start));
  assert.ok("done" in acted);
  assert.equal(acted.done.map(({ certificates }) => certificates.length), names.map(() => 1));
  world.close();
});

test("256 requests wait at most; a day later others can", async () => {
  const world = await approved();
  const cas = configuredCas(world.ca);
  let made = 0;
  const request = (at: Date) => {
    const next = [(made++).toString(16).padStart(64, "0")];
    return codeOf(requestApprovals(world.ca, { name: "rotate-ca", ...cas, next }, at));
  };
  for (let count = 0; count < openApprovalsMax; count++) assert.is(await request(start), "done");
  assert.is(await request(start), "too-many-requests");
  assert.is(
    await codeOf(enrol(world.ca, { token: await world.token("w-1"), csr: (await testCsr()).der, address }, start)),
    "too-many-requests",
  );
  assert.is(await request(later(requestLifeMaxMs)), "done");
  world.close();
});

test("of requests that ended the last 1,000 are kept, with their approvals and who denied them", async () => {
  const world = await approved();
  const { id } = await asked(world);
  await world.approve(id, "alice", start);
  await Effect.runPromise(denyApproval(world.ca, { id, by: "dora" }, start));
  const sql = `
WITH RECURSIVE each(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM each WHERE n < ${endedApprovalsMax})
INSERT INTO approval_requests (id, line, policy, operation, asked, expires, state, ended)
SELECT n, '', '', 'rotate-ca', 0, 0, 'lapsed', ? + n FROM each`;
  const change = () => world.ca.register.transaction((rows) => Result.succeed(rows.change(sql, +start)));
  Result.getOrThrow(change());
  await Effect.runPromise(requestApprovals(world.ca, { name: "rotate-ca", ...configuredCas(world.ca) }, start));
  const count = (table: string) =>
    Result.getOrThrow(
      world.ca.register.read((rows) => rows.first<{ n: number }>(`SELECT count(*) AS n FROM ${table}`)!.n),
    );
  assert.equal([count("approval_requests"), count("approvals")], [endedApprovalsMax + 1, 0]);
  assert.is(count("facts WHERE name LIKE 'denied_by:%'"), 0);
  assert.is(stateOf(world.ca, id), undefined);
  world.close();
});

test("bug: many denied requests pushed the executed ones out of the register", async () => {
  const world = await approved();
  const { id } = await asked(world);
  for (const person of ["alice", "bob"] as const) await world.approve(id, person, start);
  const sql = `
WITH RECURSIVE each(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM each WHERE n < ${endedApprovalsMax})
INSERT INTO approval_requests (id, line, policy, operation, asked, expires, state, ended)
SELECT n || ?, '', '', 'rotate-ca', 0, 0, ?, ? + n FROM each`;
  const enter = (state: string) =>
    Result.getOrThrow(
      world.ca.register.transaction((rows) => {
        rows.change(sql, state, state, +start);
        return Result.succeed(lapse(rows, start));
      }),
    );
  enter("denied");
  assert.is(stateOf(world.ca, id), "executed");
  assert.is(Result.getOrThrow(world.ca.register.read((rows) => approvalsOf(rows, id))).length, 2);
  enter("executed");
  assert.is(stateOf(world.ca, id), undefined, "they are bounded too");
  world.close();
});

for (const [what, count, isWhole] of [["below", 11, true], ["over", 60, false]] as const) {
  test(`bug: a request over 4 kB was cut in the audit log (${what})`, () => recordedWhole(count, isWhole));
}

/** Requests a revocation of so many names: the audit log has it in one record, or in several. */
async function recordedWhole(count: number, isWhole: boolean): Promise<void> {
  const world = await approved(["change-approvers", "revoke-many"]);
  const recorded = recordedBy(world.ca);
  const names = Array.from({ length: count }, (_, index) => `w-${index}`);
  for (const name of names) {
    const request = { token: await world.token(name, {}), csr: (await testCsr()).der, address };
    await Effect.runPromise(enrol(world.ca, request, start));
  }
  const acted = await Effect.runPromise(
    revokeByOperator(world.ca, names.map((name) => ({ name })), "superseded", start),
  );
  assert.ok("waits" in acted);
  const { line } = Result.getOrThrow(world.ca.register.read((rows) => approvalRowOf(rows, acted.waits.id)))!;
  assert.is(line.length < detailBytesMax, isWhole, String(line.length));
  assert.ok(line.length > 900, String(line.length));
  assert.is(recorded.length === 1, isWhole, String(recorded.length));
  const details = recorded.map(({ detail }) => detail as Readonly<Record<string, unknown>>);
  assert.is(details.map(({ request }) => request).join(""), line);
  assert.equal(
    details.map(({ id, part, parts }) => [id, part, parts]),
    details.map((_, index) => [acted.waits.id, ...(isWhole ? [undefined, undefined] : [index + 1, details.length])]),
  );
  const place = { node: "ca", prev: "", seq: 0, ts: "" };
  for (const event of recorded) assert.not("cut" in JSON.parse(String(composeLine(event, place))).detail);
  world.close();
}

test("a step of a rotation is permitted once it was approved, until its request expires", async () => {
  const world = await approved();
  const cas = { ...configuredCas(world.ca), next: ["ab".repeat(32)] };
  const isPermitted = (at = start) => Result.getOrThrow(world.ca.register.read((rows) => arePermitted(rows, cas, at)));
  const { id } = await Effect.runPromise(requestApprovals(world.ca, { name: "rotate-ca", ...cas }, start));
  assert.is(await world.approve(id, "alice", start), "open");
  assert.not(isPermitted());
  assert.is(await world.approve(id, "bob", start), "executed");
  assert.ok(isPermitted());
  assert.ok(isPermitted(later(requestLifeMaxMs - 1)));
  assert.not(isPermitted(later(requestLifeMaxMs)), "until the request expires");
  world.close();
});

test.run();
