/**
 * Gates with checks that do as a test says, and what goes with them. The checks are pure functions of what they are
 * given, so that a traversal of the machine may take any branch at any time.
 *
 * @module
 */
import { Result } from "effect";
import type { GateCheckName } from "../../actors/gate/gate_checks.ts";
import { type CheckFunctions, type Outcome, pkiChecks } from "../../pki/checks/check_table.ts";
import { CertificateExpired, Internal, type Refusal } from "../../pki/refusal.ts";
import { defaultPolicy, type Policy, type TrustSnapshot } from "../../pki/trust.ts";
import type { GateCommand, GateInput } from "../../transport/port.ts";

/** What a scripted check does where it does not pass. */
export type Behaviour = "refuses" | "throws" | "says nothing" | "promises";

/** What checks do; those not named pass. */
export type Script = Readonly<Partial<Record<GateCheckName, Behaviour>>>;

/** What a scripted check proves: which check, under which anchors and snapshot. */
export interface ScriptedProof {
  readonly of: GateCheckName;
  readonly script: Script;
  readonly generation?: number;
  readonly anchorsId?: string;
  readonly at?: Date;
  readonly expiresAt?: Date;
  readonly peer?: string;
}

interface ScriptedPolicy extends Policy {
  readonly script: Script;
  readonly generation: number;
}

/** Makes a snapshot with what `algorithm`, `path`, `validity` (new anchors only), `revocation` and `role` do under it. */
export function scripted(generation: number, anchorsId: string, script: Script = {}): TrustSnapshot {
  const policy: ScriptedPolicy = { ...defaultPolicy, script, generation };
  return { generation, anchorsId, anchors: [], revocation: undefined, policy };
}

/** Makes the event of a TLS handshake with what `tlsVersion`, `wellFormed` and `identity` do about it. */
export function secured(script: Script = {}): Extract<GateCommand, { type: "tls.secured" }> {
  return {
    type: "tls.secured",
    version: script.tlsVersion ?? "TLSv1.3",
    chain: [new TextEncoder().encode(JSON.stringify(script))],
  };
}

/** The refusal of a scripted check. */
export function refusalOfCheck(check: GateCheckName): Refusal {
  if (check !== "validity") return new Internal({ detail: `scripted ${check}` });
  const certificate = { subject: "CN=scripted", serial: "01" };
  return new CertificateExpired({ certificate, at: new Date(2_000), notAfter: new Date(1_000) });
}

/** How often each check ran. */
export type CheckCounts = Map<GateCheckName, number>;

/** Checks that follow the scripts. `expiresAt` is what the revocation check proves. */
export function scriptedChecks(
  options: { readonly expiresAt?: Date; readonly counts?: CheckCounts } = {},
): CheckFunctions {
  const { expiresAt = new Date(8.64e15), counts } = options;
  const run = (of: GateCheckName, script: Script, more: Partial<ScriptedProof> = {}): Outcome<never> => {
    counts?.set(of, (counts.get(of) ?? 0) + 1);
    switch (script[of]) {
      case undefined:
        return Result.succeed({ of, script, ...more } satisfies ScriptedProof) as unknown as Outcome<never>;
      case "throws":
        throw new Error(`${of} threw`);
      case "says nothing":
        return undefined as unknown as Outcome<never>;
      case "promises":
        return Promise.resolve(true) as unknown as Outcome<never>;
      default:
        return Result.fail(refusalOfCheck(of));
    }
  };
  const under = (policy: Policy) => policy as ScriptedPolicy;
  const scriptOf = (proof: unknown) => (proof as ScriptedProof).script;
  const madeUnder = ({ generation, anchorsId }: TrustSnapshot) => ({ generation, anchorsId });
  return {
    ...pkiChecks,
    tlsVersion: (version) => run("tlsVersion", version === "TLSv1.3" ? {} : { tlsVersion: version as Behaviour }),
    wellFormed: ([leaf]) => run("wellFormed", JSON.parse(new TextDecoder().decode(leaf)) as Script),
    algorithm: (_, policy) => run("algorithm", under(policy).script, { generation: under(policy).generation }),
    path: (_, snapshot) => run("path", under(snapshot.policy).script, madeUnder(snapshot)),
    validity: (found, at) => run("validity", scriptOf(found), { at }),
    revocation: (_, snapshot) =>
      run("revocation", under(snapshot.policy).script, { ...madeUnder(snapshot), expiresAt }),
    identity: (wellFormed) => run("identity", scriptOf(wellFormed), { peer: "12D3KooWScripted" }),
    role: (_, policy) => run("role", under(policy).script, { generation: under(policy).generation }),
  };
}

/** The checks that the gate must make, in the order in which it must make them. A test compares the table with this. */
export const checkNames: readonly GateCheckName[] = [
  "admission",
  "tlsVersion",
  "wellFormed",
  "algorithm",
  "path",
  "validity",
  "revocation",
  "identity",
  "role",
];

/** The input of a gate, in tests. */
export function gateInput(snapshot: TrustSnapshot, more: Partial<GateInput> = {}): GateInput {
  return {
    id: "gate-1",
    direction: "inbound",
    address: "/ip4/127.0.0.1/tcp/4001",
    expectedPeer: undefined,
    admission: Result.succeed({}),
    snapshot,
    own: { name: "own", notAfter: new Date(8.64e15) },
    deadlineMs: 5_000,
    ...more,
  };
}
