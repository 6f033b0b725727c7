/**
 * What a member may do at a node: verifies its certificate as the node would, then decides each act with the node's own function.
 *
 * @module
 */
import process from "node:process";
import { Clock, Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { MemberRole, Role } from "../../pki/certificate.ts";
import { verifyPath } from "../../pki/path.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import { type Act, actNames } from "../../transport/authorization/acts.ts";
import { authorize, type Rule } from "../../transport/authorization/authorize.ts";
import { makeRules } from "../../transport/authorization/rules.ts";
import type { RoleConfig } from "../config/config.ts";
import { describeProblem } from "../config/problem.ts";
import { isThere } from "../files/is_there.ts";
import { trustInputOf } from "../node/inputs.ts";
import { loadTrust } from "../trust/load_trust.ts";
import { CertutilError } from "./certutil_error.ts";
import { readConfig } from "./doctor/configuration.ts";
import { readCertificateFile } from "./input_file.ts";
import { parseTime } from "./lifetime.ts";

/** What is explained. */
export interface ExplainOptions {
  /** The node's configuration, of any role. */
  readonly config: string;
  /** The member's certificate, and behind it what the member would send along, in PEM; or the certificate in DER. */
  readonly peer: string;
  /** Every act where undefined. */
  readonly act: Act | undefined;
  /** RFC 3339; now when undefined. */
  readonly at: string | undefined;
}

/** Whether a member may do an act, and what decides. */
export interface ExplainedAct {
  readonly allowed: boolean;
  readonly act: Act;
  /** `row ACT` of the table of acts, `authorization.rules[N]`, or `gate` where the certificate does not get that far. */
  readonly by: string;
  /** The refusal, where it is denied. */
  readonly code?: string;
  readonly reason?: string;
  /** The certificate's name; null where the gate refuses it. */
  readonly name: string | null;
  /** The role that the certificate names; null for none. */
  readonly role: MemberRole | null;
}

/** The answer of the command. */
export interface Explanation {
  /** The role of the node. */
  readonly node: Role;
  readonly acts: readonly ExplainedAct[];
  /** What to do about the denied ones; null where nothing is denied. */
  readonly hint: string | null;
  readonly warnings: readonly string[];
}

/** What a running node decides with. */
export interface ExplainTerms {
  readonly snapshot: TrustSnapshot;
  readonly at: Date;
  /** The role of the node. */
  readonly own: Role;
  readonly rules: readonly Rule[];
}

/** Explains acts of the member that shows this chain (DER, the leaf first). */
export function explainActs(
  acts: readonly Act[],
  chain: readonly Uint8Array[],
  { snapshot, at, own, rules }: ExplainTerms,
): Pick<Explanation, "acts" | "hint"> {
  const verdict = verifyPath(chain, snapshot, { at });
  if (Result.isFailure(verdict)) {
    const { code, message: reason, hint } = verdict.failure;
    const denied = { allowed: false, by: "gate", code, reason, name: null, role: null };
    return { acts: acts.map((act) => ({ ...denied, act })), hint };
  }
  const { identity } = verdict.success;
  const hints = new Set<string>();
  const who = { name: identity.name, role: identity.role ?? null };
  const explained = acts.map((act): ExplainedAct =>
    Result.match(authorize(act, identity, { own, rules }), {
      onSuccess: (by) => ({ allowed: true, act, by, ...who }),
      onFailure: ({ code, message: reason, hint, rule: by }) => {
        hints.add(hint);
        return { allowed: false, act, by, code, reason, ...who };
      },
    })
  );
  return { acts: explained, hint: [...hints][0] ?? null };
}

/** Reads the files as the node does, and explains. Changes none of them. */
export function explain(options: ExplainOptions): Effect.Effect<Explanation, CertutilError, FileSystem> {
  const { config: file, peer, act } = options;
  return Effect.gen(function* () {
    const asked = yield* Effect.fromResult(parseTime("--at", options.at));
    const at = asked ?? new Date(yield* Clock.currentTimeMillis);
    const config = yield* loadedConfig(file);
    const chain = yield* readCertificateFile(peer, { what: "certificate", flag: "--peer" });
    const { snapshot, warnings } = yield* trustOf(config, at);
    const rules = makeRules(config.authorization?.rules ?? []);
    const acts = act === undefined ? actNames : [act];
    return {
      node: config.role,
      ...explainActs(acts, chain, { snapshot, at, own: config.role, rules }),
      warnings: warnings.filter(({ level }) => level === "warn").map(({ message }) => message),
    };
  });
}

function loadedConfig(file: string): Effect.Effect<RoleConfig, CertutilError, FileSystem> {
  return Effect.flatMap(readConfig(file, process.env), ({ config, problems: [problem] }) => {
    if (config !== undefined) return Effect.succeed(config);
    const detail = problem === undefined ? "it fits no role" : describeProblem(problem);
    const remedy = "Correct it, or name a node's configuration with -c.";
    return Effect.fail(new CertutilError({ what: "use configuration", file, detail, remedy }));
  });
}

/** The node's trust, kept lists included. A state directory that is not there yet is not made. */
function trustOf(config: RoleConfig, at: Date) {
  const { policy, stateDir, ...paths } = trustInputOf(config);
  return Effect.gen(function* () {
    const hasState = stateDir !== undefined && (yield* Effect.orElseSucceed(isThere(stateDir), () => false));
    return yield* loadTrust(paths, { policy, generation: 1, at, stateDir: hasState ? stateDir : undefined });
  }).pipe(
    Effect.mapError(({ file, detail, mend }) =>
      new CertutilError({ what: "use trust of the node", file, detail, remedy: mend })
    ),
  );
}
