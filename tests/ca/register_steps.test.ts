/** Killed after each step between a request and its answer: the retry finds one certificate, one revocation, one list of a number. */
import { Buffer } from "node:buffer";
import { execFile } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { CertificateAuthority } from "../../actors/ca/certificate_authority.ts";
import { crlOf, derOf, enterRevocations, lastNumber } from "../../actors/ca/crl_rows.ts";
import { requestApprovals } from "../../actors/ca/approval_ceremony.ts";
import { openApprovals, policyOf } from "../../actors/ca/approval_rows.ts";
import { arePermitted, configuredCas } from "../../actors/ca/authorities_fact.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import { renewLists } from "../../actors/ca/revoke.ts";
import type { OperationParts } from "../../pki/approval/approval_request.ts";
import { parseCertificate } from "../../pki/certificate.ts";
import { parseCrl } from "../../pki/crl.ts";
import { revokedEntries } from "../../pki/issue/revoked_entries.ts";
import { testAuthority, testCsr } from "../support/authority.ts";
import { policyOfKeys, testApprovers } from "../support/approvers.ts";
import { approvedSteps, operate, stepAuthority, type StepOperation, type StepWorld } from "../support/ca_step_child.ts";

const test = suite("a CA that is killed between a request and its answer");
/** So many that a list has several pieces. */
const crowd = 6_000;
/** All steps of all operations: `HYPHA_STEPS=all npm test -- tests/ca/register_steps.test.ts`. */
const isShort = process.env["HYPHA_STEPS"] !== "all";
const laterSteps: readonly StepOperation[] = ["revoke-many", "rotate-ca", "change-approvers"];
const hex = (der: Uint8Array) => Buffer.from(der).toString("hex");

/** The CAs of a configuration after the first step of a rotation. */
const nextCas = (ca: CertificateAuthority) => ({ ...configuredCas(ca), next: ["ab".repeat(32)] });

/** The folder of a CA with a node, a token, a token that needs approval, and a long list. */
async function prepared(): Promise<{ readonly folder: string; readonly world: StepWorld }> {
  const at = new Date();
  const made = await testAuthority({ from: at, approvedRoles: ["data"] });
  const { ca } = made;
  const rows = Array.from({ length: crowd }, (_, index) => ({
    ...{ position: index + 1, issuer: ca.issuerId, serial: (0x4000_0000 + index).toString(16).padEnd(40, "7") },
    ...{ revoked: +at, reason: "superseded" as const, not_after: null },
  }));
  Result.getOrThrow(ca.register.transaction((register) => Result.succeed(enterRevocations(register, rows))));
  await Effect.runPromise(renewLists(ca, at));
  const { der, keyPem } = await testCsr("w-0");
  const request = { token: await made.token("w-0"), csr: der, address: "10.0.0.1" };
  const leaf = await Effect.runPromise(enrol(ca, request, at));
  const approvers = await testApprovers(ca, approvedSteps);
  const gatewayToken = await made.token("g-1", { role: "gateway" });
  const gateway = { token: gatewayToken, csr: (await testCsr()).der, address: "10.0.0.1" };
  await Effect.runPromise(Effect.ignore(enrol(ca, gateway, at)));
  const { serial } = Result.getOrThrow(parseCertificate(Uint8Array.from(leaf)));
  const identity = "spiffe://acme.example/worker/w-0";
  const requested: readonly OperationParts[] = [
    {
      name: "revoke-many",
      certificates: [{ identity, issuer: ca.issuerId, serial }],
      identities: [identity],
      reason: "keyCompromise",
    },
    { name: "rotate-ca", ...nextCas(ca) },
    { name: "change-approvers", policy: policyOfKeys(approvers.keys, ["alice", "bob"], approvedSteps) },
  ];
  for (const operation of requested) await Effect.runPromise(requestApprovals(ca, operation, at));
  for (const { id } of Result.getOrThrow(ca.register.read((rows) => openApprovals(rows, at)))) {
    assert.is(await approvers.approve(id, "alice", at), "open");
  }
  const world: StepWorld = {
    gatewayToken,
    approverKey: approvers.keys.bob,
    key: made.intermediate.keyPem,
    chain: [made.intermediate.der, made.root.der].map(hex),
    token: await made.token("w-1"),
    approvedToken: await made.token("d-1", { role: "data" }),
    csr: hex((await testCsr()).der),
    leaf: hex(leaf),
    renewal: hex((await testCsr("w-0", keyPem)).der),
    at: +at,
  };
  writeFileSync(join(made.folder, "world.json"), JSON.stringify(world), { mode: 0o600 });
  ca.register.close();
  return { folder: made.folder, world };
}

/** Runs the child on a copy of a folder; the number of its steps, undefined where it was killed. */
async function child(folder: string, what: StepOperation, last: number) {
  const copy = mkdtempSync(join(tmpdir(), "hypha-step-"));
  cpSync(folder, copy, { recursive: true });
  const script = fileURLToPath(new URL("../support/ca_step_child.ts", import.meta.url));
  const isDeno = "Deno" in globalThis;
  // Deno's node:child_process rewrites command lines that begin with its own path.
  const self = isDeno ? `${dirname(process.execPath)}/./${basename(process.execPath)}` : process.execPath;
  const flags = isDeno ? ["run", "-A", "--no-check", "-q"] : ["--no-warnings"];
  const text = await new Promise<string>((resolve, reject) => {
    const args = [...flags, script, copy, what, String(last)];
    execFile(self, args, { timeout: 30_000, encoding: "utf8" }, (error, stdout) => {
      if (error !== null && error.signal !== "SIGKILL") reject(error);
      else resolve(stdout);
    });
  });
  return { copy, steps: text === "" ? undefined : Number(text) };
}

/** What must never be lost or doubled. */
function stateOf(ca: CertificateAuthority) {
  const { register, issuerId } = ca;
  return Result.getOrThrow(register.read((rows) => {
    const complete = crlOf(rows, issuerId, "complete")!;
    const listed = Result.getOrThrow(
      revokedEntries(Result.getOrThrow(parseCrl(Uint8Array.from(derOf(rows, complete))))),
    );
    const count = (table: string) => rows.first<{ n: number }>(`SELECT count(*) AS n FROM ${table}`)!.n;
    return {
      certificates: count("certificates"),
      executed: count("approval_requests WHERE state = 'executed'"),
      approvers: policyOf(rows)!.approvers.length,
      isRotationPermitted: arePermitted(rows, nextCas(ca), new Date()),
      revocations: count("revocations"),
      listed: listed.length,
      number: BigInt(complete.number),
      last: lastNumber(rows, issuerId),
      sha256: complete.sha256,
    };
  }));
}

const operations: [what: StepOperation, before: readonly StepOperation[], certificates: number][] = [
  ["issue-role:gateway", [], 2],
  ["revoke-many", [], 1],
  ["rotate-ca", [], 1],
  ["change-approvers", [], 1],
  ["enrol", [], 2],
  ["renew", [], 2],
  ["request", [], 1],
  ["decide", ["request"], 1],
  ["fetch", ["request", "decide"], 2],
  ["revoke", [], 1],
  ["lists", [], 1],
];
let origin: Awaited<ReturnType<typeof prepared>>;
test.before(async () => {
  origin = await prepared();
});
test.after(() => rmSync(origin.folder, { recursive: true }));
for (const [what, before, certificates] of operations) {
  test(`${what}: killed after each step, and asked again`, async () => {
    const { world } = origin;
    const folder = mkdtempSync(join(tmpdir(), "hypha-steps-"));
    cpSync(origin.folder, folder, { recursive: true });
    const begin = stepAuthority(folder, world);
    for (const each of before) await operate(begin, world, each);
    const first = stateOf(begin);
    begin.register.close();
    const whole = await child(folder, what, 0);
    assert.ok(whole.steps !== undefined && whole.steps > 0);
    rmSync(whole.copy, { recursive: true });
    for (let step = 1; step <= whole.steps; step++) {
      // Of what several persons approve by default the first step, the approval, and the last one, with which it is done.
      if (isShort && laterSteps.includes(what) && step > 1 && step < whole.steps) continue;
      const { copy, steps } = await child(folder, what, step);
      assert.is(steps, undefined, `step ${step} of ${whole.steps}`);
      const ca = stepAuthority(copy, world);
      const after = stateOf(ca);
      assert.ok(after.number >= first.number, "no lower number");
      assert.is(after.listed, after.revocations, "revocations and their list are one transaction");
      const answer = await operate(ca, world, what);
      const done = stateOf(ca);
      assert.is(done.certificates, certificates, "one certificate");
      const isApproved = (approvedSteps as readonly string[]).includes(what);
      assert.is(done.executed, isApproved ? 1 : 0, "approved, and executed once");
      assert.is(done.isRotationPermitted, what === "rotate-ca");
      assert.is(done.approvers, what === "change-approvers" ? 2 : 3);
      assert.is(done.listed, crowd + (what === "revoke" || what === "revoke-many" ? 1 : 0));
      if (after.revocations > first.revocations) {
        assert.is(done.sha256, after.sha256, "the list of before, byte for byte");
      }
      assert.is(
        await operate(ca, world, what),
        what === "lists" ? "in-force" : answer,
        "and once more, the same answer",
      );
      assert.equal({ ...stateOf(ca), sha256: "" }, { ...done, sha256: "" });
      ca.register.close();
      rmSync(copy, { recursive: true });
    }
    rmSync(folder, { recursive: true });
  });
}

test.run();
