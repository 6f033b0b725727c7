/**
 * A CA in a process of its own that does one thing and kills itself after a number of steps: what it has signed or committed by then is
 * there, its answer is not.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Effect, Result } from "effect";
import { resumeApproved, takeApproval } from "../../actors/ca/approval_ceremony.ts";
import { openApprovals } from "../../actors/ca/approval_rows.ts";
import { type CertificateAuthority, makeAuthority } from "../../actors/ca/certificate_authority.ts";
import { enrol } from "../../actors/ca/enrol.ts";
import { reenrol } from "../../actors/ca/reenrol.ts";
import { Register } from "../../actors/ca/register.ts";
import { decide, openRequests } from "../../actors/ca/request_rows.ts";
import { renewLists, revoke } from "../../actors/ca/revoke.ts";
import { composeApproval } from "../../pki/approval/approval.ts";
import { sha256 } from "../../pki/approval/canonical_line.ts";
import { fileSigner, type Signer } from "../../pki/issue/mod.ts";

/** What the CA does. */
export type StepOperation =
  | ApprovedStep
  | "enrol"
  | "renew"
  | "request"
  | "decide"
  | "fetch"
  | "revoke"
  | "lists";

/** The operations of which the last approval is given. */
export const approvedSteps = ["issue-role:gateway", "revoke-many", "rotate-ca", "change-approvers"] as const;
/** One of them. */
export type ApprovedStep = typeof approvedSteps[number];

/** What the child is given, as JSON in its folder; bytes are hexadecimal. */
export interface StepWorld {
  readonly key: string;
  readonly chain: readonly string[];
  readonly token: string;
  readonly approvedToken: string;
  readonly csr: string;
  /** An enrolled node's certificate, and its request. */
  readonly leaf: string;
  readonly renewal: string;
  readonly at: number;
  /** A token of a role that waits for two approvals, and the key of the second approver. */
  readonly gatewayToken: string;
  readonly approverKey: string;
}

const address = "10.0.0.1";
const bytes = (hex: string) => Uint8Array.from(Buffer.from(hex, "hex"));

/** A CA on a register, with what counts its steps. */
export function stepAuthority(folder: string, world: StepWorld, step: () => void = () => {}): CertificateAuthority {
  const register = Result.getOrThrow(Register.open(join(folder, "ca.db")));
  const transaction = register.transaction.bind(register);
  const real = fileSigner(world.key);
  const signer: Signer = {
    spki: real.spki,
    sign: async (tbs) => {
      const signature = await real.sign(tbs);
      step();
      return signature;
    },
  };
  const counted: typeof transaction = (change) => {
    let changes = 0;
    const outcome = transaction((rows) => {
      const total = () => rows.first<{ n: number }>("SELECT total_changes() AS n")!.n;
      const before = total();
      const changed = change(rows);
      changes = total() - before;
      return changed;
    });
    if (changes > 0) step();
    return outcome;
  };
  Object.assign(register, { transaction: counted });
  return Result.getOrThrow(makeAuthority({
    ...{ register, signer, chain: world.chain.map(bytes), domain: "acme.example", url: "https://ca.acme.example:8443" },
    ...{ lifetimeMs: () => 30 * 86_400_000, renewAfterExpiryMs: 0, retiredIssuers: [], gateways: [] },
    ...{ approvedRoles: ["data"], onAlarm: () => {} },
  }));
}

/** Gives the second approval, unless it is there; what the CA did with it, whatever answered. */
async function approveSecond(
  ca: CertificateAuthority,
  { approverKey }: StepWorld,
  { step, at }: { readonly step: ApprovedStep; readonly at: Date },
): Promise<string> {
  await Effect.runPromise(resumeApproved(ca, at));
  const open = Result.getOrThrow(ca.register.read((rows) => openApprovals(rows, at)));
  const waiting = open.find(({ operation }) => operation === step);
  if (waiting !== undefined) {
    const approval = await composeApproval(sha256(waiting.line), fileSigner(approverKey));
    await Effect.runPromise(takeApproval(ca, { id: waiting.id, approval }, at));
  }
  const sql = "SELECT operation, state FROM approval_requests ORDER BY operation";
  return JSON.stringify(Result.getOrThrow(ca.register.read((rows) => rows.all(sql))));
}

/** Does one thing; what it answers, hexadecimal. */
export async function operate(ca: CertificateAuthority, world: StepWorld, what: StepOperation): Promise<string> {
  const at = new Date(world.at);
  const hex = async (der: Promise<Uint8Array>) => Buffer.from(await der).toString("hex");
  const asked = { token: world.approvedToken, csr: bytes(world.csr), address };
  switch (what) {
    case "issue-role:gateway":
    case "revoke-many":
    case "rotate-ca":
    case "change-approvers":
      return await approveSecond(ca, world, { step: what, at });
    case "enrol":
      return await hex(Effect.runPromise(enrol(ca, { ...asked, token: world.token }, at)));
    case "renew": {
      const request = { certificate: bytes(world.leaf), csr: bytes(world.renewal), address };
      return await hex(Effect.runPromise(reenrol(ca, request, at)));
    }
    case "request": {
      const outcome = await Effect.runPromise(Effect.result(enrol(ca, asked, at)));
      return Result.isFailure(outcome) ? outcome.failure.message : "issued";
    }
    case "decide": {
      const waiting = Result.getOrThrow(ca.register.read((rows) => openRequests(rows, at)));
      // The gateway's waits for the approvals of persons.
      const open = waiting.find(({ identity }) => identity.includes("/data/"));
      if (open !== undefined) await Effect.runPromise(decide(ca, { id: open.id, decision: "approved" }, at));
      return "decided";
    }
    case "fetch":
      return await hex(Effect.runPromise(enrol(ca, asked, at)));
    case "revoke":
      return (await Effect.runPromise(revoke(ca, { name: "w-0" }, "keyCompromise", at))).number;
    case "lists":
      return await Effect.runPromise(renewLists(ca, new Date(world.at + 86_400_000)));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder = "", what = "", last = ""] = process.argv.slice(2);
  const world = JSON.parse(readFileSync(join(folder, "world.json"), "utf8")) as StepWorld;
  let steps = 0;
  const ca = stepAuthority(folder, world, () => {
    steps += 1;
    if (steps === Number(last)) process.kill(process.pid, "SIGKILL");
  });
  await operate(ca, world, what as StepOperation);
  writeSync(1, `${steps}\n`);
  ca.register.close();
}
