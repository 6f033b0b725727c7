/**
 * Verifies a chain as a node does, and reports by which path, or why not.
 *
 * @module
 */
import { Clock, Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Certificate } from "../../pki/certificate.ts";
import { type Path, verifyStepByStep } from "../../pki/path.ts";
import { checkByCheck, type CheckStep } from "./check_by_check.ts";
import type { Refusal } from "../../pki/refusal.ts";
import { defaultPolicy, makeTrustSnapshot, type TrustError, type TrustMade } from "../../pki/trust.ts";
import { CertutilError } from "./certutil_error.ts";
import { pemOf } from "../files/file_kind.ts";
import { readCertificateFile, readInputBytes } from "./input_file.ts";
import { parseTime } from "./lifetime.ts";

/** What is verified. */
export interface VerifyChain {
  /** The leaf, and behind it what a node would send along, in PEM; or the leaf in DER. */
  readonly chain: string;
  readonly trust: string;
  readonly crls: string | undefined;
  /** RFC 3339; now when undefined. */
  readonly at: string | undefined;
}

/** One certificate of a path. */
export interface PathStep {
  readonly subject: string;
  readonly issuer: string;
  readonly serial: string;
  readonly notBefore: string;
  readonly notAfter: string;
}

/** The verdict. `code` and `reason` are null where the chain is accepted, `path` is empty where it is refused. */
export interface Verdict {
  readonly ok: boolean;
  readonly code: string | null;
  /** Leaf first, the anchor last. */
  readonly path: readonly PathStep[];
  readonly reason: string | null;
  /** What to do about it; null where the chain is accepted. */
  readonly hint: string | null;
  /** The peer that a node with this chain is; null where it is refused. */
  readonly peer: { readonly id: string; readonly name: string; readonly role: string | null } | null;
  /** The checks in their order, as far as they went; the last one is the one that refused. */
  readonly checks: readonly CheckStep[];
  /** The certificates of the path on which it was refused, leaf first; empty where there is none, or it is accepted. */
  readonly tried: readonly string[];
  readonly warnings: readonly string[];
}

/** Verifies a chain with the default policy of nodes. */
export function verifyChain(options: VerifyChain): Effect.Effect<Verdict, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    const asked = yield* Effect.fromResult(parseTime("--at", options.at));
    const at = asked ?? new Date(yield* Clock.currentTimeMillis);
    const chain = yield* readCertificateFile(options.chain, { what: "chain", flag: "CHAIN" });
    const { snapshot, warnings } = yield* readTrust(options, at);
    const { verdict: outcome, outcomes } = verifyStepByStep(chain, snapshot, { at });
    const said = warnings.filter(({ level }) => level === "warn").map(({ message }) => message);
    const checks = checkByCheck(outcomes, snapshot);
    if (Result.isFailure(outcome)) return refused(outcome.failure, checks, said);
    const { identity, path } = outcome.success;
    const peer = { id: identity.peer, name: identity.name, role: identity.role ?? null };
    return {
      ok: true,
      code: null,
      path: stepsOf(path),
      reason: null,
      hint: null,
      peer,
      checks,
      tried: [],
      warnings: said,
    };
  });
}

function refused(refusal: Refusal, checks: readonly CheckStep[], warnings: readonly string[]): Verdict {
  const { code, message: reason, hint } = refusal;
  const tried = "tried" in refusal ? (refusal.tried ?? []).map(({ subject }) => subject) : [];
  return { ok: false, code, path: [], reason, hint, peer: null, checks, tried, warnings };
}

function stepsOf(path: Path): readonly PathStep[] {
  return path.map(({ subject, issuer, serial, period }: Certificate) => ({
    subject: subject.text,
    issuer: issuer.text,
    serial,
    notBefore: period.notBefore.toISOString(),
    notAfter: period.notAfter.toISOString(),
  }));
}

function readTrust(options: VerifyChain, at: Date): Effect.Effect<TrustMade, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    const trustPem = pemOf(yield* readInputBytes(options.trust, { what: "trust bundle", flag: "--trust" }));
    const crlsPem = options.crls === undefined
      ? undefined
      : yield* readInputBytes(options.crls, { what: "revocation lists", flag: "--crls" });
    const made = makeTrustSnapshot({ trustPem, crlsPem, policy: defaultPolicy, generation: 1, at });
    return yield* Effect.fromResult(Result.mapError(made, (error) => fromTrustError(error, options)));
  });
}

function fromTrustError(error: TrustError, { trust, crls }: VerifyChain): CertutilError {
  const [what, file] = error.input === "trust_pem" ? ["use trust bundle", trust] : ["use revocation lists", crls];
  const where = error.line === undefined ? "" : `line ${error.line}: `;
  return new CertutilError({ what: what!, file, detail: `${where}${error.detail}`, remedy: error.hint });
}
