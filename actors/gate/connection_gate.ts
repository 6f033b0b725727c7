/**
 * The gate: one machine for both directions, one actor a connection, from the first byte to the last.
 *
 * ```
 * handshaking                     verifying                                     opening ──▶ established
 *   checkingAdmission ─▶ admitting ─▶ securing ─▶ checkingTlsVersion ─▶ checkingWellFormed   ▲ │           ▲ │ trust.changed,
 *        │                  │            │          ─▶ checkingAlgorithm ─▶ checkingPath ─────┘ ▼           │ ▼ expiry
 *        │                  │            │          ─▶ checkingValidity ─▶ checkingRevocation  reverifying (the same checks)
 *        │                  │            │          ─▶ checkingIdentity ─▶ checkingRole              │
 *        ▼                  ▼            ▼                    │                                      ▼
 *     refused            refused      refused              refused                                 closed
 * ```
 *
 * Each check is a state: one guarded way leads on where its outcome holds, and one unguarded way leads to the safe state, so that
 * an unforeseen case refuses. Entering `verifying` or `reverifying` computes the outcomes in the checks' order, none behind one
 * that does not hold (one action, as xstate copies a machine's whole context for each); neither rests: they are left within the
 * event that entered them. An event that a state does not foresee refuses or closes too (`*`),
 * except that `established` ignores a second `connection.opened`, and that `refused` and `closed`, being final, ignore
 * everything.
 *
 * @module
 */
import { Result } from "effect";
import { assign, emit, setup } from "xstate";
import { HandshakeTimeout, HungUp, Internal, type Refusal } from "../../pki/refusal.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { CloseReason, GateEvent, GateInput, GatePhase, GateSaid } from "../../transport/port.ts";
import {
  type Birth,
  type CheckName,
  type Checks,
  type Evidence,
  holds,
  judge,
  judgeAll,
  type Outcome,
  pkiChecks,
  withoutStale,
} from "./gate_checks.ts";

/** What a gate is born with: what the transport says, and the node's clock (milliseconds since the epoch). */
export interface ConnectionGateInput extends GateInput {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** The node's own, with its memory; in place of the machine's. One machine then serves every node of a process. */
  readonly checks?: Checks;
}

/** The evidence and every outcome, and in the end why the connection was refused or closed. */
export interface ConnectionGateContext extends Evidence {
  /** In one field: xstate copies the context with each assignment, and objects of 20 fields and more are slow to copy. */
  readonly birth: HandshakeBirth;
  /** What a deadline that fires interrupts. */
  readonly waitingFor: "admission" | "TLS" | "libp2p";
  /** Why the peer was refused, once it was. */
  readonly refusal: Refusal | undefined;
  /** Why an established connection ended, once it did. */
  readonly reason: CloseReason | undefined;
}

/** What never changes in a gate's life. */
export interface HandshakeBirth extends Birth {
  readonly id: string;
  readonly direction: "inbound" | "outbound";
  readonly address: string;
  readonly deadlineMs: number;
  readonly checks: Checks | undefined;
}

/** The longest delay that a timer of either runtime keeps: a longer one fires after a millisecond. */
export const timerMaxMs = 2 ** 31 - 1;
/** The shortest time between two looks at an expiry, in milliseconds: a clock that stands still is not asked in a loop. */
export const expiryCheckMinMs = 50;

function contextFrom(input: ConnectionGateInput): ConnectionGateContext {
  const { id, direction, address, expectedPeer, admission, snapshot, own, deadlineMs, now, checks } = input;
  return {
    birth: {
      id,
      direction,
      address,
      expectedPeer,
      own: { name: own.name, notAfter: own.notAfter },
      deadlineMs,
      checks,
      now,
      at: now(),
    },
    admission,
    snapshot,
    version: "",
    chain: [],
    verifiedBefore: false,
    waitingFor: "admission",
    opened: false,
    refusal: undefined,
    reason: undefined,
  };
}

/** The refusal that a failed check amounts to; a check without an outcome is a defect, and refuses. */
function refusalOf(context: ConnectionGateContext, check: CheckName): Refusal {
  const outcome: Outcome<unknown> | undefined = context[check];
  if (Result.isResult(outcome) && Result.isFailure(outcome)) return outcome.failure as Refusal;
  return new Internal({ detail: `check ${check} gave no outcome` });
}

/** Why re-verification closes a connection: its certificate's time ran out, or what is trusted changed. */
function reasonFor(refusal: Refusal): CloseReason {
  return { type: refusal.code === "certificate-expired" ? "expired" : "trust.changed", refusal };
}

/**
 * Milliseconds until the first certificate of the path, or of what we showed the peer, has expired (`notAfter` itself is
 * still valid).
 */
function untilExpiryMs({ revocation, birth }: ConnectionGateContext): number {
  if (!holds(revocation)) return expiryCheckMinMs;
  const endsAt = Math.min(revocation.success.expiresAt.getTime(), birth.own.notAfter.getTime());
  const leftMs = endsAt - birth.now() + 1;
  return Math.min(timerMaxMs, Math.max(expiryCheckMinMs, leftMs));
}

function identityOf(context: ConnectionGateContext) {
  if (context.identity === undefined || Result.isFailure(context.identity)) {
    throw new Error("verified without identity");
  }
  return context.identity.success;
}

/** The machine with these checks, where a gate brings none. Only tests want others than {@linkcode pkiChecks}. */
export function handshakeWith(checks: Checks) {
  const gate = setup({
    types: {
      input: {} as ConnectionGateInput,
      context: {} as ConnectionGateContext,
      events: {} as GateEvent,
      emitted: {} as GateSaid,
      meta: {} as { safe: readonly string[] },
    },
    guards: {
      /** Whether the check's outcome stands and is a success. */
      holds: ({ context }, { check }: { check: CheckName }) => holds(context[check]),
      holdsOpened: ({ context }, { check }: { check: CheckName }) => context.opened && holds(context[check]),
      byUs: (_, { by }: { by: "us" | "them" | "lost" }) => by === "us",
      byThem: (_, { by }: { by: "us" | "them" | "lost" }) => by === "them",
    },
    actions: {
      /** Admission was decided before the gate was made: no check of ours computes it. */
      judgeAdmission: assign(({ context }) => ({ admission: judge("admission", context, checks) })),
      judgeAll: assign(({ context }) => judgeAll(context, context.birth.checks ?? checks)),
      takeSnapshot: assign((_, { snapshot }: { snapshot: TrustSnapshot }) => ({ snapshot })),
      /** Forgets what the new snapshot, or the time that passed, makes stale. */
      begin: assign(({ context }, { snapshot }: { snapshot: TrustSnapshot }) => ({
        ...withoutStale(context, snapshot),
        snapshot,
      })),
      takeTls: assign((_, { version, chain }: { version: string; chain: readonly Uint8Array[] }) => ({
        version,
        chain,
      })),
      waitFor: assign((_, { what }: { what: ConnectionGateContext["waitingFor"] }) => ({ waitingFor: what })),
      /** The parsed chain holds the bytes; an idle connection keeps nothing twice. */
      settle: assign({ chain: [], verifiedBefore: true, waitingFor: "libp2p" }),
      markOpened: assign({ opened: true }),
      refuse: assign((_, { refusal }: { refusal: Refusal | undefined }) => ({
        refusal: refusal ?? new Internal({ detail: "refused for no recorded reason" }),
      })),
      close: assign((_, { reason }: { reason: CloseReason }) => ({
        reason,
        refusal: "refusal" in reason ? reason.refusal : undefined,
      })),
      sayVerified: emit(({ context }) => ({ type: "gate.verified", identity: identityOf(context) }) as const),
      sayEstablished: emit(({ context }) => ({ type: "gate.established", identity: identityOf(context) }) as const),
      sayRefused: emit(({ context }) => ({
        type: "gate.refused",
        refusal: context.refusal ?? new Internal({ detail: "refused for no recorded reason" }),
      } as const)),
      sayClosed: emit(({ context }) => ({
        type: "gate.closed",
        reason: context.reason ?? { type: "by-us", detail: "closed for no recorded reason" },
      } as const)),
    },
    delays: {
      deadline: ({ context }) => Math.min(timerMaxMs, context.birth.deadlineMs),
      untilExpiry: ({ context }) => untilExpiryMs(context),
    },
  });

  const refusedFor = (name: CheckName) =>
    ({
      target: "#handshake.refused",
      actions: {
        type: "refuse",
        params: ({ context }: { context: ConnectionGateContext }) => ({ refusal: refusalOf(context, name) }),
      },
    }) as const;
  /** A check of a new connection: on to `next` where it holds, refused in every other case. */
  const check = (name: CheckName, next: string) =>
    gate.createStateConfig({
      always: [
        { guard: { type: "holds", params: { check: name } }, target: next },
        refusedFor(name),
      ],
    });
  const closing = (name: CheckName) =>
    ({
      target: "#handshake.closed",
      actions: {
        type: "close",
        params: ({ context }: { context: ConnectionGateContext }) => ({ reason: reasonFor(refusalOf(context, name)) }),
      },
    }) as const;
  /** The same check of a connection that was let in before: on to `next` where it holds, closed in every other case. */
  const recheck = (name: CheckName, next: string) =>
    gate.createStateConfig({
      always: [{ guard: { type: "holds", params: { check: name } }, target: next }, closing(name)],
    });
  const timedOut = {
    target: "#handshake.refused",
    actions: {
      type: "refuse",
      params: ({ context: { waitingFor, birth } }: { context: ConnectionGateContext }) => ({
        refusal: new HandshakeTimeout({ state: `waiting for ${waitingFor}`, afterMs: birth.deadlineMs }),
      }),
    },
  } as const;
  const refusedAsSaid = {
    target: "#handshake.refused",
    actions: { type: "refuse", params: ({ event }: { event: { refusal: Refusal } }) => ({ refusal: event.refusal }) },
  } as const;
  const unforeseen = {
    target: "#handshake.refused",
    actions: {
      type: "refuse",
      params: ({ event }: { event: GateEvent }) => ({
        refusal: new Internal({ detail: `unforeseen ${event.type} before the connection was open` }),
      }),
    },
  } as const;
  const closedAsAsked = {
    target: "#handshake.closed",
    actions: {
      type: "close",
      params: ({ event }: { event: { reason: string } }) => ({
        reason: { type: "by-us", detail: event.reason } as const,
      }),
    },
  } as const;
  const closedByUs = {
    guard: {
      type: "byUs",
      params: ({ event }: { event: { by: "us" | "them" | "lost" } }) => ({ by: event.by }),
    },
    target: "#handshake.closed",
    actions: {
      type: "close",
      params: ({ event }: { event: { detail: string } }) => ({
        reason: { type: "by-us", detail: event.detail } as const,
      }),
    },
  } as const;
  /** A peer that goes before the connection is open hung up: perhaps it refused us. */
  const endedEarly = [closedByUs, {
    target: "#handshake.refused",
    actions: {
      type: "refuse",
      params: ({ event }: { event: { detail: string } }) => ({ refusal: new HungUp({ detail: event.detail }) }),
    },
  }] as const;
  const lost = {
    target: "#handshake.closed",
    actions: {
      type: "close",
      params: ({ event }: { event: GateEvent }) => ({
        reason: { type: "lost", detail: "detail" in event ? event.detail : `unforeseen ${event.type}` } as const,
      }),
    },
  } as const;

  return gate.createMachine({
    id: "handshake",
    meta: { safe: ["refused", "closed"] },
    context: ({ input }) => contextFrom(input),
    initial: "handshaking",
    states: {
      handshaking: {
        initial: "checkingAdmission",
        after: { deadline: timedOut },
        on: {
          "trust.changed": { actions: { type: "takeSnapshot", params: ({ event }) => ({ snapshot: event.snapshot }) } },
          "tls.failed": refusedAsSaid,
          "opening.failed": refusedAsSaid,
          "connection.closed": endedEarly,
          "close": closedAsAsked,
          "*": unforeseen,
        },
        states: {
          checkingAdmission: {
            entry: "judgeAdmission",
            ...check("admission", "admitting"),
          },
          admitting: {
            on: {
              "connection.securing": { target: "securing", actions: { type: "waitFor", params: { what: "TLS" } } },
            },
          },
          securing: {
            on: {
              "tls.secured": {
                target: "#handshake.verifying",
                actions: {
                  type: "takeTls",
                  params: ({ event }) => ({ version: event.version, chain: event.chain }),
                },
              },
            },
          },
        },
      },
      verifying: {
        entry: "judgeAll",
        initial: "checkingTlsVersion",
        states: {
          checkingTlsVersion: check("tlsVersion", "checkingWellFormed"),
          checkingWellFormed: check("wellFormed", "checkingAlgorithm"),
          checkingAlgorithm: check("algorithm", "checkingPath"),
          checkingPath: check("path", "checkingValidity"),
          checkingValidity: check("validity", "checkingRevocation"),
          checkingRevocation: check("revocation", "checkingIdentity"),
          checkingIdentity: check("identity", "checkingRole"),
          checkingRole: {
            always: [
              {
                guard: { type: "holds", params: { check: "role" } },
                target: "#handshake.opening",
                actions: ["settle", "sayVerified"],
              },
              refusedFor("role"),
            ],
          },
        },
      },
      opening: {
        after: { deadline: timedOut },
        on: {
          "connection.opened": { target: "established", actions: ["markOpened", "sayEstablished"] },
          "trust.changed": {
            target: "reverifying",
            actions: { type: "begin", params: ({ event }) => ({ snapshot: event.snapshot }) },
          },
          "tls.failed": refusedAsSaid,
          "opening.failed": refusedAsSaid,
          "connection.closed": endedEarly,
          "close": closedAsAsked,
          "*": unforeseen,
        },
      },
      established: {
        after: {
          untilExpiry: {
            target: "reverifying",
            actions: { type: "begin", params: ({ context }) => ({ snapshot: context.snapshot }) },
          },
        },
        on: {
          "trust.changed": {
            target: "reverifying",
            actions: { type: "begin", params: ({ event }) => ({ snapshot: event.snapshot }) },
          },
          "connection.opened": {},
          "connection.closed": [
            closedByUs,
            {
              guard: { type: "byThem", params: ({ event }) => ({ by: event.by }) },
              target: "closed",
              actions: { type: "close", params: { reason: { type: "by-them" } } },
            },
            lost,
          ],
          "close": closedAsAsked,
          "*": lost,
        },
      },
      reverifying: {
        entry: "judgeAll",
        initial: "checkingTlsVersion",
        states: {
          checkingTlsVersion: recheck("tlsVersion", "checkingWellFormed"),
          checkingWellFormed: recheck("wellFormed", "checkingAlgorithm"),
          checkingAlgorithm: recheck("algorithm", "checkingPath"),
          checkingPath: recheck("path", "checkingValidity"),
          checkingValidity: recheck("validity", "checkingRevocation"),
          checkingRevocation: recheck("revocation", "checkingIdentity"),
          checkingIdentity: recheck("identity", "checkingRole"),
          checkingRole: {
            always: [
              { guard: { type: "holdsOpened", params: { check: "role" } }, target: "#handshake.established" },
              { guard: { type: "holds", params: { check: "role" } }, target: "#handshake.opening" },
              closing("role"),
            ],
          },
        },
      },
      refused: { type: "final", entry: "sayRefused" },
      closed: { type: "final", entry: "sayClosed" },
    },
  });
}

/** The gate of this network. */
export const connectionGateMachine = handshakeWith(pkiChecks);

/** The phase that a value of the machine's state amounts to. */
export function phaseOf(value: string | Readonly<Record<string, unknown>>): GatePhase {
  if (typeof value === "string") return value as GatePhase;
  if ("handshaking" in value) return value["handshaking"] === "securing" ? "securing" : "admitting";
  return "verifying" in value ? "verifying" : "reverifying";
}
