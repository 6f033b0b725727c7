/**
 * What an operator does to a CA, where it may have to wait for the approvals of others.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { type ApprovalPolicy, onlineOperations, parseApprovalPolicy } from "../../pki/approval/approval_policy.ts";
import { revokedAtOnceMax, type RevokedCertificate } from "../../pki/approval/online_operation.ts";
import type { RevocationReason } from "../../pki/issue/mod.ts";
import { type CeremonyStanding, requestApprovals } from "./approval_ceremony.ts";
import { enterPolicy, factOf, needsApprovals, policyFact } from "./approval_rows.ts";
import { arePermitted, type ConfiguredCas, configuredCas, enterConfiguredCas } from "./authorities_fact.ts";
import { CaRefused } from "./ca_refused.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import type { RegisterRows } from "./register.ts";
import { RegisterFailure } from "./register_failure.ts";
import { isHardwareIdentity } from "./hardware_rows.ts";
import { gapOf } from "./restored_rows.ts";
import { checkTargets, revocableOf, type RevocationTarget, revoke, type Revoked } from "./revoke.ts";
import { type Unsigned, withoutSerials } from "./revoke_page.ts";
import { voidTokens } from "./token_rows.ts";

/** Names or serials that operators revoke within an hour with commands of several, where `revoke-many` waits for approvals. */
export const unapprovedRevocationsMax = 10;
const hourMs = 3_600_000;

type Failure = CaRefused | RegisterFailure;

/** What became of a command: it was done, or a request waits. */
export type Acted<A> = { readonly done: A } | { readonly waits: CeremonyStanding };

/** What became of a revocation. */
export type ActedRevocation = Acted<readonly Revoked[]> & {
  /** Names without certificates whose unused tokens were voided although the others wait for approvals. */
  readonly voided?: readonly string[];
};

/**
 * Revokes targets; several that make more than {@linkcode unapprovedRevocationsMax} within an hour wait for approvals, all of them.
 * Unused tokens of names without certificates do not wait.
 */
export function revokeByOperator(
  ca: CertificateAuthority,
  targets: readonly RevocationTarget[],
  reason: RevocationReason,
  at: Date,
): Effect.Effect<ActedRevocation, Failure> {
  return Effect.gen(function* () {
    yield* Effect.fromResult(checkTargets(ca, targets, at));
    const act = yield* Effect.fromResult(
      ca.register.transaction<number | undefined, never>((rows) => Result.succeed(enterAct(rows, targets.length, at))),
    );
    if (act === undefined) return yield* requestRevocations(ca, { targets, reason }, at);
    const done: Revoked[] = [];
    const [whole, left]: [RevocationTarget[], { readonly target: RevocationTarget; readonly refusal: CaRefused }[]] = [
      [],
      [],
    ];
    let unsigned: Unsigned = new Map();
    for (const target of targets) {
      unsigned = withoutSerials(unsigned);
      const revoked = yield* Effect.result(revoke(ca, target, reason, at, unsigned));
      const refusal = Result.isSuccess(revoked) ? revoked.success.refusal : revoked.failure;
      if (Result.isSuccess(revoked)) done.push(revoked.success);
      if (refusal === undefined) whole.push(target);
      // Of the other targets, all that can be revoked is.
      else if (isOfKey(refusal)) left.push({ target, refusal });
      else {
        undo(ca, act, done.length);
        return yield* Effect.fail(afterSome(refusal, whole));
      }
    }
    const [first, ...others] = left;
    if (first === undefined) return { done };
    undo(ca, act, done.length);
    const { refusal: { code, detail } } = first;
    const more = others.length === 0
      ? ""
      : `; not, or not wholly, revoked as well: ${named(others.map(({ target }) => target))}`;
    return yield* Effect.fail(afterSome(new CaRefused({ code, detail: `${detail}${more}` }), whole));
  });
}

const isOfKey = (failure: Failure): failure is CaRefused =>
  failure._tag === "CaRefused" && failure.code === "signer-unavailable";

const named = (targets: readonly RevocationTarget[]): string =>
  targets.map((target) => "name" in target ? target.name : target.serial).join(", ");

/** A failure that names the targets that were revoked all the same. */
function afterSome(failure: Failure, targets: readonly RevocationTarget[]): Failure {
  if (targets.length === 0) return failure;
  const detail = `${failure.detail}; names revoked: ${named(targets)}`;
  return failure._tag === "CaRefused"
    ? new CaRefused({ code: failure.code, detail })
    : new RegisterFailure({ problem: failure.problem, file: failure.file, detail });
}

/** Counts an act; undefined where it has to wait. Where nothing waits, nothing is counted: 0. */
function enterAct(rows: RegisterRows, names: number, at: Date): number | undefined {
  if (!needsApprovals(rows, "revoke-many")) return 0;
  rows.change("DELETE FROM revocation_acts WHERE at <= ?", +at - hourMs);
  const before = rows.first<{ n: number | null }>("SELECT sum(names) AS n FROM revocation_acts")?.n ?? 0;
  // A stolen key must not wait.
  if (names > 1 && before + names > unapprovedRevocationsMax) return undefined;
  rows.change("INSERT INTO revocation_acts VALUES (?, ?)", +at, names);
  return rows.first<{ id: number }>("SELECT last_insert_rowid() AS id")!.id;
}

/** Of an act that was refused, only what was done before counts. */
function undo({ register }: CertificateAuthority, act: number, done: number): void {
  if (act === 0) return;
  register.transaction((rows) =>
    Result.succeed(rows.change("UPDATE revocation_acts SET names = ? WHERE rowid = ?", done, act))
  );
}

function requestRevocations(
  ca: CertificateAuthority,
  { targets, reason }: { readonly targets: readonly RevocationTarget[]; readonly reason: RevocationReason },
  at: Date,
): Effect.Effect<ActedRevocation, Failure> {
  return ca.inTurn(Effect.gen(function* () {
    const isRestored = (yield* Effect.fromResult(ca.register.read((rows) => gapOf(rows, at)))) !== undefined;
    const certificates: RevokedCertificate[] = [];
    const [identities, withoutCertificates]: [string[], string[]] = [[], []];
    for (const target of targets) {
      const found = yield* Effect.fromResult(revocableOf(ca, target, revokedAtOnceMax, at));
      for (const { identity, issuer, serial } of found.rows) certificates.push({ identity, issuer, serial });
      const hasCertificates = found.rows.length > 0;
      if (!hasCertificates) withoutCertificates.push(...found.identities);
      // What such a name got in the gap, or its identity in hardware for another name, is not among these rows.
      if (hasCertificates || isRestored || found.identities.some(isHardwareIdentity)) {
        identities.push(...found.identities);
      }
    }
    let voided: readonly string[] = [];
    const voidUnused = (rows: RegisterRows): void => {
      voided = withoutCertificates.filter((identity) => voidTokens(rows, ca.domain, identity, at) > 0);
    };
    if (certificates.length > 0) {
      const operation = { name: "revoke-many", certificates, identities, reason } as const;
      const waits = yield* requestApprovals(ca, operation, at, { also: voidUnused });
      return { waits, voided };
    }
    yield* Effect.fromResult(ca.register.transaction<void, never>((rows) => Result.succeed(voidUnused(rows))));
    if (isRestored) return yield* noneKnown(voided);
    if (voided.length > 0) return { done: [], voided };
    return yield* new CaRefused({ code: "name-unknown", detail: "nothing is left to revoke of these" });
  }));
}

/** No request can have certificates that a restored register does not know. */
function noneKnown(voided: readonly string[]): CaRefused {
  const tokens = voided.length === 0 ? "" : `the unused tokens of ${voided.join(", ")} are void; `;
  const detail =
    `${tokens}the restored register knows no certificate of these names that is left to revoke. What they got since the backup is revoked one name at a time`;
  return new CaRefused({ code: "name-unknown", detail });
}

/** Sets the first approvers; later ones need the approval of those before. */
export function setFirstPolicy(ca: CertificateAuthority, line: string): Effect.Effect<ApprovalPolicy, Failure> {
  return ca.inTurn(
    Effect.suspend(() =>
      Effect.fromResult(Result.flatMap(onlinePolicy(line), (policy) =>
        ca.register.transaction((rows) => {
          if (factOf(rows, policyFact) !== undefined) return refuse("approvers are set already");
          enterFirstPolicy(rows, policy, configuredCas(ca));
          return Result.succeed(policy);
        })))
    ),
  );
}

/** Enters the first policy of a register. */
export function enterFirstPolicy(rows: RegisterRows, policy: ApprovalPolicy, cas: ConfiguredCas): void {
  enterPolicy(rows, policy);
  enterConfiguredCas(rows, cas);
}

/** Requests other approvers. */
export function requestPolicy(
  ca: CertificateAuthority,
  line: string,
  at: Date,
): Effect.Effect<CeremonyStanding, Failure> {
  return ca.inTurn(
    Effect.flatMap(
      Effect.fromResult(onlinePolicy(line)),
      (policy) => requestApprovals(ca, { name: "change-approvers", policy }, at),
    ),
  );
}

/** A policy whose operations are all a CA's own. */
export function onlinePolicy(line: string): Result.Result<ApprovalPolicy, CaRefused> {
  return Result.flatMap(
    Result.mapError(parseApprovalPolicy(line), ({ detail }) => new CaRefused({ code: "approvers-refused", detail })),
    (policy) => {
      const online: readonly string[] = onlineOperations;
      const other = policy.operations.find((each) => !online.includes(each));
      return other === undefined ? Result.succeed(policy) : refuse(`${other} is no operation of hypha-ca`);
    },
  );
}

const refuse = (detail: string) => Result.fail(new CaRefused({ code: "approvers-refused", detail }));

/** Whether the configuration may have these CAs from its next start on; where it waits, the request. */
export function permitRotation(
  ca: CertificateAuthority,
  cas: ConfiguredCas,
  at: Date,
): Effect.Effect<Acted<"permitted">, Failure> {
  return ca.inTurn(Effect.gen(function* () {
    const isPermitted = yield* Effect.fromResult(
      ca.register.read((rows) => !needsApprovals(rows, "rotate-ca") || arePermitted(rows, cas, at)),
    );
    if (isPermitted) return { done: "permitted" } as const;
    return { waits: yield* requestApprovals(ca, { name: "rotate-ca", ...cas }, at) };
  }));
}
