/** What a CA does once two persons have approved it: each term that the register must meet has the request that does not. */
import { Buffer } from "node:buffer";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { requestApprovals } from "../../actors/ca/approval_ceremony.ts";
import { arePermitted, configuredCas } from "../../actors/ca/authorities_fact.ts";
import type { CertificateAuthority } from "../../actors/ca/certificate_authority.ts";
import { certificateOf } from "../../actors/ca/certificate_rows.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import { requestPolicy, revokeByOperator, unapprovedRevocationsMax } from "../../actors/ca/operator_acts.ts";
import { openRequests } from "../../actors/ca/request_rows.ts";
import { reenrol } from "../../actors/ca/reenrol.ts";
import type { RegisterRows } from "../../actors/ca/register.ts";
import { describeRequest } from "../../actors/certutil/approval/describe_request.ts";
import { enterRestored } from "../../actors/ca/restored_rows.ts";
import { revoke } from "../../actors/ca/revoke.ts";
import { tokenLifetimeMs } from "../../actors/ca/token_rows.ts";
import type { OperationName } from "../../pki/approval/approval_policy.ts";
import { type OperationParts, parseApprovalRequest } from "../../pki/approval/approval_request.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { composeCsrTbs, issueCsr } from "../../pki/issue/mod.ts";
import { parsePem } from "../../pki/pem.ts";
import { codeOf, start, testAuthority, type TestAuthorityOptions, testCsr } from "../support/authority.ts";
import { testIdentity } from "../support/hardware_identity.ts";
import { policyOfKeys, testApprovers } from "../support/approvers.ts";

const test = suite("doApproved()");
const dayMs = 86_400_000;
const later = (ms: number) => new Date(+start + ms);
const address = "10.0.0.1";

const read = <A>({ register }: CertificateAuthority, look: (rows: RegisterRows) => A): A =>
  Result.getOrThrow(register.read(look));
const change = ({ register }: CertificateAuthority, sql: string, ...values: (string | number)[]) =>
  Result.getOrThrow(register.transaction((rows) => Result.succeed(rows.change(sql, ...values))));

/** A CA with approvers, and what a request ends with when two of them have approved it. */
async function made(options?: TestAuthorityOptions, operations?: readonly OperationName[]) {
  const world = await testAuthority(options);
  const approvers = await testApprovers(world.ca, operations);
  const endOf = async (operation: OperationParts) => {
    const { id } = await Effect.runPromise(requestApprovals(world.ca, operation, start));
    await approvers.approve(id, "alice", start);
    return await approvers.approve(id, "bob", start);
  };
  /** A node that has asked with a token: the token's id, and the bytes of a certificate for its key. */
  const asked = async (
    name: string,
    more: { readonly keyPem?: string; readonly replaces?: "yes"; readonly key?: "hardware" } = {},
  ) => {
    const { keyPem, ...rest } = more;
    const { csrPem, keyPem: key } = await issueCsr({ commonName: name, san: [], ...(keyPem ? { keyPem } : {}) });
    const token = await world.token(name, rest);
    const csr = Uint8Array.from(Result.getOrThrow(parsePem(csrPem))[0]!.der);
    const ask = (at = start) => codeOf(enrol(world.ca, { token, csr, address }, at));
    assert.is(await ask(), "request-pending");
    const id = read(world.ca, (rows) => rows.first<{ id: string }>("SELECT id FROM tokens ORDER BY rowid DESC")!.id);
    const bytes = async (terms: { issuer?: "root"; notBefore?: Date; notAfter?: Date } = {}) => {
      const { issuer, notBefore = start, notAfter = later(dayMs) } = terms;
      const part = more.key === "hardware" ? "identity" : "worker";
      const san = [`URI:spiffe://acme.example/${part}/${name}`];
      const period = { notBefore, notAfter };
      const ca = issuer === "root" ? world.root : world.intermediate;
      return Uint8Array.from(
        await composeCsrTbs({ issuer: ca, csrPem, identity: { commonName: name, san }, ...period }),
      );
    };
    return { id, bytes, ask, keyPem: key };
  };
  return { ...world, ...approvers, endOf, asked };
}

const role = (tbs: Uint8Array, token: string) => ({ name: "issue-role:worker", tbs, token }) as const;

test("a certificate is issued by this CA, ends with it at the latest, and has not ended", async () => {
  const world = await made();
  const { notAfter: end } = world.ca.issuer.certificate.period;
  const cases = [
    [{}, /^executed$/],
    [{ notAfter: end }, /^executed$/],
    [{ issuer: "root" }, /^lapsed: .*names CN=Root as its issuer$/],
    [{ issuer: "root", notAfter: new Date(+end + 1_000) }, /^lapsed: /],
    [{ notBefore: later(-dayMs), notAfter: start }, /^lapsed: .*has ended$/],
    [{ notBefore: later(-dayMs), notAfter: later(1_000) }, /^executed$/],
  ] as const;
  for (const [index, [terms, expected]] of cases.entries()) {
    const { id, bytes, ask } = await world.asked(`w-${index}`);
    assert.match(await world.endOf(role(await bytes(terms), id)), expected, JSON.stringify(terms));
    assert.is(await ask(), String(expected) === "/^executed$/" ? "done" : "request-pending");
  }
  const { id, bytes } = await world.asked("w-late");
  const tbs = Buffer.from(await bytes({ notAfter: end }));
  const seconds = tbs.indexOf(end.toISOString().replace(/^20|[-:T]|\.\d+/g, "")) + "YYMMDDHHMM".length;
  tbs.write("01", seconds, "ascii");
  assert.match(await world.endOf(role(Uint8Array.from(tbs), id)), /^lapsed: .*would end after the CA's/);
  world.close();
});

test("the token is of this key and name, not void, and without a certificate", async () => {
  const world = await made();
  const one = await world.asked("w-1");
  const other = await world.asked("w-2", { keyPem: one.keyPem });
  const third = await world.asked("w-3");
  const again = await world.asked("w-1");
  const refused = /^lapsed: .*is not one of this enrolment$/;
  const tbs = await one.bytes();
  assert.match(await world.endOf(role(tbs, "00".repeat(8))), refused, "an unknown token");
  assert.match(await world.endOf(role(tbs, other.id)), refused, "another name");
  assert.match(await world.endOf(role(tbs, again.id)), refused, "another key");
  change(world.ca, "UPDATE tokens SET void = 1 WHERE id = ?", third.id);
  assert.match(await world.endOf(role(await third.bytes(), third.id)), refused, "a void token");
  assert.is(await world.endOf(role(tbs, one.id)), "executed");
  assert.match(await world.endOf(role(tbs, one.id)), refused, "a token with a certificate");
  const taken = await world.endOf(role(await again.bytes(), again.id));
  assert.match(taken, /^lapsed: .*w-1/, taken);
  world.close();
});

test("the enrolment is decided, its answer stays for a day, its use is recorded, and a replaced name is unlocked", async () => {
  const world = await made();
  const types: string[] = [];
  const keep = (events: readonly { readonly type: string }[]) => void types.push(...events.map(({ type }) => type));
  world.ca.register.recordTo({ record: (event) => keep([event]), recordNow: keep });
  const { id, bytes, ask } = await world.asked("w-1", { replaces: "yes" });
  const identity = "spiffe://acme.example/worker/w-1";
  for (const each of [identity, `${identity}0`]) {
    change(world.ca, "INSERT INTO locked_identities VALUES (?, ?, ?)", each, +start, "renewal-forked");
  }
  assert.is(read(world.ca, (rows) => openRequests(rows, start)).length, 1);
  assert.is(await world.endOf({ ...role(await bytes(), id), replaces: true }), "executed");
  assert.equal(read(world.ca, (rows) => openRequests(rows, start)), []);
  assert.is(await ask(later(dayMs - 1)), "done");
  assert.ok(types.includes("token.used"), types.join(" "));
  assert.equal(read(world.ca, (rows) => rows.all("SELECT identity FROM locked_identities")).length, 1);
  world.close();
});

test("bug: approvers were not shown that a token replaces what its name has", async () => {
  const world = await made();
  const one = await world.asked("w-1", { replaces: "yes" });
  const [line] = read(
    world.ca,
    (rows) => rows.all<{ line: string }>("SELECT line FROM approval_requests WHERE token = ?", one.id),
  );
  const request = Result.getOrThrow(parseApprovalRequest(line!.line));
  assert.match(describeRequest(request).join("\n"), /replaces {5}what this name has/);
  const hidden = role(await one.bytes(), one.id);
  assert.match(await world.endOf(hidden), /^lapsed: .*replaces what its name has, and the request did not show that/);
  assert.is(await world.endOf({ ...hidden, replaces: true }), "executed");
  const two = await world.asked("w-2");
  const invented = { ...role(await two.bytes(), two.id), replaces: true } as const;
  assert.match(await world.endOf(invented), /^lapsed: .*replaces nothing/);
  world.close();
});

test("a request of an earlier version, which does not show it, ends; the node's next one shows it", async () => {
  const world = await made();
  const { id: token, bytes, ask } = await world.asked("w-1", { replaces: "yes" });
  change(world.ca, "DELETE FROM approval_requests");
  const earlier = requestApprovals(world.ca, role(await bytes(), token), start, { token });
  const { id } = await Effect.runPromise(earlier);
  assert.is(await ask(), "request-pending");
  await world.approve(id, "alice", start);
  assert.match(await world.approve(id, "bob", start), /^lapsed: .*approve the node's next request/);
  assert.is(await ask(), "request-pending");
  const sql = "SELECT id, line FROM approval_requests WHERE state = 'open'";
  const open = read(world.ca, (rows) => rows.all<{ id: string; line: string }>(sql));
  assert.equal(open.map(({ line }) => line.includes('"replaces":true')), [true]);
  for (const person of ["alice", "bob"] as const) await world.approve(open[0]!.id, person, start);
  assert.is(await ask(), "done");
  world.close();
});

test("a token of an identity in hardware is approved for its own role alone", async () => {
  const world = await made();
  const { id, bytes } = await world.asked("w-1", { key: "hardware" });
  const of = { ...role(await bytes(), id), name: "issue-role:scheduler" } as const;
  assert.match(await world.endOf(of), /^lapsed: .*is not one of this enrolment$/);
  assert.is(await world.endOf(role(of.tbs, id)), "executed");
  world.close();
});

test("an answer that was approved late stays for a day from then, and no longer", async () => {
  const world = await made();
  const { id: token, bytes, ask } = await world.asked("w-1");
  const { id } = await Effect.runPromise(requestApprovals(world.ca, role(await bytes(), token), start));
  const at = later(20 * 3_600_000);
  await world.approve(id, "alice", at);
  assert.is(await world.approve(id, "bob", at), "executed");
  assert.is(await ask(new Date(+at + dayMs - 1)), "done");
  assert.is(await ask(new Date(+at + dayMs)), "token-expired");
  world.close();
});

/** Names that wait to be revoked: those given, and as many as make one command wait. */
async function revocationOf(world: Awaited<ReturnType<typeof made>>, name: string) {
  const names = Array.from({ length: unapprovedRevocationsMax }, (_, index) => `other-${index}`);
  for (const each of names) {
    const request = { token: await world.token(each), csr: (await testCsr()).der, address };
    await Effect.runPromise(enrol(world.ca, request, start));
  }
  const targets = [name, ...names].map((each) => ({ name: each }));
  const acted = await Effect.runPromise(revokeByOperator(world.ca, targets, "superseded", start));
  assert.ok("waits" in acted);
  return async () => {
    await world.approve(acted.waits.id, "alice", start);
    assert.is(await world.approve(acted.waits.id, "bob", start), "executed");
  };
}

test("bug: an approved revocation of an identity in hardware left the certificates for TLS that it got after the request", async () => {
  const world = await made({}, ["change-approvers", "revoke-many"]);
  const identity = await testIdentity(world, "w-1");
  await Effect.runPromise(identity.enrol());
  const execute = await revocationOf(world, "w-1");
  const { fingerprint } = Result.getOrThrow(parseCertificate(await Effect.runPromise(identity.enrol())));
  await execute();
  assert.is(read(world.ca, (rows) => certificateOf(rows, fingerprint))?.revoked, +start);
  assert.is(await codeOf(identity.enrol()), "certificate-revoked");
  world.close();
});

test("bug: an approved revocation of a name left the certificate that a token of its got after the request", async () => {
  const world = await made({}, ["change-approvers", "revoke-many"]);
  const enrolled = async (name: string, token: string) => {
    const der = await Effect.runPromise(enrol(world.ca, { token, csr: (await testCsr(name)).der, address }, start));
    return Result.getOrThrow(parseCertificate(der)).fingerprint;
  };
  const revokedAt = (fingerprint: string) => read(world.ca, (rows) => certificateOf(rows, fingerprint))?.revoked;
  const first = await enrolled("w-1", await world.token("w-1"));
  const bystander = await enrolled("w-10", await world.token("w-10"));
  const token = await world.token("w-1", { replaces: "yes" });
  const execute = await revocationOf(world, "w-1");
  const second = await enrolled("w-1", token);
  await execute();
  assert.equal([first, second, bystander].map(revokedAt), [+start, +start, null]);
  world.close();
});

test("bug: in a restored register, a certificate of the gap was renewed although an approved revocation had its name", async () => {
  const world = await made({}, ["change-approvers", "revoke-many"]);
  const { der: csr, keyPem } = await testCsr("w-1");
  const first = await Effect.runPromise(enrol(world.ca, { token: await world.token("w-1"), csr, address }, start));
  const next = await Effect.runPromise(reenrol(world.ca, { certificate: first, csr, address }, start));
  const { fingerprint } = Result.getOrThrow(parseCertificate(next));
  change(world.ca, "DELETE FROM certificates WHERE fingerprint = ?", fingerprint);
  Result.getOrThrow(world.ca.register.transaction((rows) => Result.succeed(enterRestored(rows, later(60_000)))));
  await (await revocationOf(world, "w-1"))();
  const renewal = { certificate: next, csr: (await testCsr("w-1", keyPem)).der, address };
  assert.is(await codeOf(reenrol(world.ca, renewal, later(120_000))), "certificate-revoked");
  world.close();
});

test("bug: of many names that had only unused tokens nothing was revoked where revoke-many waits, and the tokens stayed valid", async () => {
  const world = await made({}, ["change-approvers", "revoke-many"]);
  const names = Array.from({ length: unapprovedRevocationsMax + 1 }, (_, index) => `w-${index}`);
  const tokens = await Promise.all(names.map((name) => world.token(name)));
  const enrolled = async (token: string) =>
    codeOf(enrol(world.ca, { token, csr: (await testCsr()).der, address }, start));
  const revoked = () =>
    Effect.runPromise(
      Effect.result(revokeByOperator(world.ca, names.map((name) => ({ name })), "keyCompromise", start)),
    );
  const identities = names.map((name) => `spiffe://acme.example/worker/${name}`);
  assert.equal(Result.getOrThrow(await revoked()), { done: [], voided: identities });
  assert.equal(await Promise.all([tokens[0]!, tokens.at(-1)!].map(enrolled)), ["token-unknown", "token-unknown"]);
  assert.is(await enrolled(await world.token("w-0")), "done");
  const unused = await world.token("w-1");
  await Promise.all(names.slice(2).map((name) => world.token(name)));
  const acted = Result.getOrThrow(await revoked());
  assert.equal(acted.voided, identities.slice(1), "with a name that has a certificate, which waits");
  assert.ok("waits" in acted);
  assert.is(await enrolled(unused), "token-unknown");
  const later = await world.token("w-1");
  assert.is(await enrolled(later), "done");
  for (const person of ["alice", "bob"] as const) await world.approve(acted.waits.id, person, start);
  const sql = "SELECT identity FROM certificates JOIN revocations USING (issuer, serial)";
  assert.equal(read(world.ca, (rows) => rows.all(sql).map((row) => ({ ...row as object }))), [{
    identity: identities[0],
  }]);
  world.close();
});

test("bug: an expired token was reported as voided, where nothing was left to revoke of many names", async () => {
  const world = await made({}, ["change-approvers", "revoke-many"]);
  const names = Array.from({ length: unapprovedRevocationsMax + 1 }, (_, index) => `w-${index}`);
  for (const name of names) {
    const token = await world.token(name);
    assert.is(await codeOf(enrol(world.ca, { token, csr: (await testCsr()).der, address }, start)), "done");
    await Effect.runPromise(revoke(world.ca, { name }, "keyCompromise", start));
  }
  const [ended, live] = [await world.token("w-0"), await world.token("w-1", { lifetimeMs: 2 * tokenLifetimeMs })];
  const revoked = () => revokeByOperator(world.ca, names.map((name) => ({ name })), "keyCompromise", after);
  const after = later(tokenLifetimeMs);
  const first = Result.getOrThrow(await Effect.runPromise(Effect.result(revoked())));
  assert.equal(first.voided, ["spiffe://acme.example/worker/w-1"]);
  const next = await Effect.runPromise(Effect.result(revoked()));
  assert.match(Result.isFailure(next) ? next.failure.message : "", /nothing is left to revoke/);
  for (const token of [ended, live]) {
    assert.is(
      await codeOf(enrol(world.ca, { token, csr: (await testCsr()).der, address }, start)),
      "token-unknown",
      "of both",
    );
  }
  world.close();
});

test("of many names of a restored register the tokens are void, and the answer states that each is to be revoked alone", async () => {
  const world = await made({}, ["change-approvers", "revoke-many"]);
  const names = Array.from(
    { length: unapprovedRevocationsMax + 1 },
    (_, index) => `spiffe://acme.example/worker/w-${index}`,
  );
  const token = await world.token("w-0");
  Result.getOrThrow(world.ca.register.transaction((rows) => Result.succeed(enterRestored(rows, start))));
  const acted = await Effect.runPromise(
    Effect.result(revokeByOperator(world.ca, names.map((name) => ({ name })), "keyCompromise", start)),
  );
  assert.match(
    Result.isFailure(acted) ? acted.failure.message : "",
    /: the unused tokens of spiffe:\/\/acme\.example\/worker\/w-0 are void; .* one name at a time$/,
  );
  assert.is(await codeOf(enrol(world.ca, { token, csr: (await testCsr()).der, address }, start)), "token-unknown");
  world.close();
});

test("a signature that does not verify issues nothing", async () => {
  let isWrong = false;
  const world = await made({
    signer: (real) => ({ ...real, sign: (bytes) => real.sign(isWrong ? bytes.subarray(1) : bytes) }),
  });
  const { id, bytes, ask } = await world.asked("w-1");
  isWrong = true;
  assert.match(await world.endOf(role(await bytes(), id)), /^open: .*does not verify/);
  assert.is(await ask(), "request-pending");
  world.close();
});

test("with the approvers the CAs of the configuration are in force; others than those approved are not", async () => {
  const world = await made();
  change(world.ca, "DELETE FROM facts WHERE name = 'configured_cas'");
  const cas = configuredCas(world.ca);
  const isPermitted = (next: readonly string[]) =>
    read(world.ca, (rows) => arePermitted(rows, { ...cas, next }, start));
  assert.not(isPermitted([]));
  const { id } = await Effect.runPromise(requestPolicy(world.ca, policyOfKeys(world.keys).line, start));
  await world.approve(id, "alice", start);
  assert.is(await world.approve(id, "carol", start), "executed");
  assert.ok(isPermitted([]));
  assert.is(await world.endOf({ name: "rotate-ca", ...cas, next: ["ab".repeat(32)] }), "executed");
  assert.equal(["ab", "cd"].map((each) => isPermitted([each.repeat(32)])), [true, false]);
  world.close();
});

test.run();
