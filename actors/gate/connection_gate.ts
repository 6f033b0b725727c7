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
 * Each check of `pki/checks/check_table.ts` is a state: one guarded transition leads to the next where its outcome holds, and one
 * unguarded transition leads to the safe state, so that an unforeseen case refuses. Entering `verifying` or `reverifying` computes
 * the outcomes in the table's order, up to the first that does not hold (in one action, because xstate copies a machine's whole
 * context for each). The machine leaves both within the event that entered them. An unexpected event refuses or closes too (`*`),
 * except that `established` ignores a second `connection.opened`, and that `refused` and `closed`, being final, ignore
 * everything.
 *
 * @module
 */
import { Result } from "effect";
import { assign, emit, setup } from "xstate";
import { holds, pkiChecks } from "../../pki/checks/check_table.ts";
import { HandshakeTimeout, HungUp, Internal, type Refusal } from "../../pki/refusal.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { CloseReason, GateCommand, GateEvent, GatePhase } from "../../transport/port.ts";
import { timerMaxMs } from "../runtime/ports.ts";
import {
  evaluateAdmission,
  evaluateChecks,
  type GateCheckName,
  staleOutcomes,
  type VerifyingCheckName,
  verifyingChecks,
} from "./gate_checks.ts";
import { type ConnectionGateContext, type ConnectionGateInput, contextFrom, untilExpiryMs } from "./gate_context.ts";

export { type ConnectionGateContext, type ConnectionGateInput, expiryCheckMinMs } from "./gate_context.ts";

/** The refusal of a failed check; a check without an outcome is a defect, and refuses. */
function refusalOf(context: ConnectionGateContext, check: GateCheckName): Refusal {
  const outcome: Result.Result<unknown, Refusal> | undefined = context[check];
  if (Result.isResult(outcome) && Result.isFailure(outcome)) return outcome.failure as Refusal;
  return new Internal({ detail: `check ${check} gave no outcome` });
}

/** Why re-verification closes a connection: a certificate expired, or the trust changed. */
function reasonFor(refusal: Refusal): CloseReason {
  return { type: refusal.code === "certificate-expired" ? "expired" : "trust.changed", refusal };
}

function identityOf({ identity }: ConnectionGateContext) {
  if (!holds(identity)) throw new Error("verified without identity");
  return identity.success;
}

const gate = setup({
  types: {
    input: {} as ConnectionGateInput,
    context: {} as ConnectionGateContext,
    events: {} as GateCommand,
    emitted: {} as GateEvent,
    meta: {} as { safe: readonly string[] },
  },
  guards: {
    /** Whether the check's outcome is known and a success. */
    holds: ({ context }, { check }: { check: GateCheckName }) => holds(context[check]),
    holdsOpened: ({ context }, { check }: { check: GateCheckName }) => context.opened && holds(context[check]),
    byUs: (_, { by }: { by: "us" | "them" | "lost" }) => by === "us",
    byThem: (_, { by }: { by: "us" | "them" | "lost" }) => by === "them",
  },
  actions: {
    /** The transport decided admission before it made the gate: no check computes it. */
    evaluateAdmission: assign(({ context }) => ({ admission: evaluateAdmission(context.admission) })),
    evaluateChecks: assign(({ context }) => evaluateChecks(context, context.input.checks ?? pkiChecks)),
    takeSnapshot: assign((_, { snapshot }: { snapshot: TrustSnapshot }) => ({ snapshot })),
    /** Drops the cached outcomes that the new snapshot, or the time that passed, makes stale. */
    begin: assign(({ context }, { snapshot }: { snapshot: TrustSnapshot }) => ({
      ...staleOutcomes(context, snapshot),
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
    deadline: ({ context }) => Math.min(timerMaxMs, context.input.deadlineMs),
    untilExpiry: ({ context }) => untilExpiryMs(context),
  },
});

const refusedFor = (name: GateCheckName) =>
  ({
    target: "#connectionGate.refused",
    actions: {
      type: "refuse",
      params: ({ context }: { context: ConnectionGateContext }) => ({ refusal: refusalOf(context, name) }),
    },
  }) as const;
const closedFor = (name: GateCheckName) =>
  ({
    target: "#connectionGate.closed",
    actions: {
      type: "close",
      params: ({ context }: { context: ConnectionGateContext }) => ({ reason: reasonFor(refusalOf(context, name)) }),
    },
  }) as const;
const isHeld = (check: GateCheckName) => ({ type: "holds", params: { check } }) as const;
const isHeldAndOpened = (check: GateCheckName) => ({ type: "holdsOpened", params: { check } }) as const;
/** After the last check of a new connection. */
const verified = (last: GateCheckName) =>
  [{ guard: isHeld(last), target: "#connectionGate.opening", actions: ["settle", "sayVerified"] }] as const;
/** After the last check of a connection that was let in before: back to where it came from. */
const verifiedAgain = (last: GateCheckName) =>
  [
    { guard: isHeldAndOpened(last), target: "#connectionGate.established" },
    { guard: isHeld(last), target: "#connectionGate.opening" },
  ] as const;

type CheckState = `checking${Capitalize<VerifyingCheckName>}`;
const stateOf = <Name extends VerifyingCheckName>(name: Name) =>
  `checking${name.charAt(0).toUpperCase()}${name.slice(1)}` as `checking${Capitalize<Name>}`;
const firstCheck = stateOf(verifyingChecks[0]!.name);

/**
 * The states of a compound: one for each check of the table. From each, one guarded transition leads on where the check holds,
 * to `done` after the last one; one unguarded transition leads to safety.
 */
function checkStates(
  done: typeof verified | typeof verifiedAgain,
  otherwise: typeof refusedFor | typeof closedFor,
) {
  const states = verifyingChecks.map(({ name }, index) => {
    const next = verifyingChecks[index + 1];
    const on = next === undefined ? done(name) : [{ guard: isHeld(name), target: stateOf(next.name) }];
    return [stateOf(name), gate.createStateConfig({ always: [...on, otherwise(name)] })] as const;
  });
  return Object.fromEntries(states) as Readonly<Record<CheckState, (typeof states)[number][1]>>;
}

const timedOut = {
  target: "#connectionGate.refused",
  actions: {
    type: "refuse",
    params: ({ context: { waitingFor, input } }: { context: ConnectionGateContext }) => ({
      refusal: new HandshakeTimeout({ state: `waiting for ${waitingFor}`, afterMs: input.deadlineMs }),
    }),
  },
} as const;
const refusedAsTold = {
  target: "#connectionGate.refused",
  actions: { type: "refuse", params: ({ event }: { event: { refusal: Refusal } }) => ({ refusal: event.refusal }) },
} as const;
const unforeseen = {
  target: "#connectionGate.refused",
  actions: {
    type: "refuse",
    params: ({ event }: { event: GateCommand }) => ({
      refusal: new Internal({ detail: `unforeseen ${event.type} before the connection was open` }),
    }),
  },
} as const;
const closedAsAsked = {
  target: "#connectionGate.closed",
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
  target: "#connectionGate.closed",
  actions: {
    type: "close",
    params: ({ event }: { event: { detail: string } }) => ({
      reason: { type: "by-us", detail: event.detail } as const,
    }),
  },
} as const;
/** A peer that goes before the connection is open hung up: perhaps it refused us. */
const endedEarly = [closedByUs, {
  target: "#connectionGate.refused",
  actions: {
    type: "refuse",
    params: ({ event }: { event: { detail: string } }) => ({ refusal: new HungUp({ detail: event.detail }) }),
  },
}] as const;
const lost = {
  target: "#connectionGate.closed",
  actions: {
    type: "close",
    params: ({ event }: { event: GateCommand }) => ({
      reason: { type: "lost", detail: "detail" in event ? event.detail : `unforeseen ${event.type}` } as const,
    }),
  },
} as const;

/** The gate of this network. */
export const connectionGateMachine = gate.createMachine({
  id: "connectionGate",
  meta: { safe: ["refused", "closed"] },
  context: ({ input }) => contextFrom(input),
  initial: "handshaking",
  states: {
    handshaking: {
      initial: "checkingAdmission",
      after: { deadline: timedOut },
      on: {
        "trust.changed": { actions: { type: "takeSnapshot", params: ({ event }) => ({ snapshot: event.snapshot }) } },
        "tls.failed": refusedAsTold,
        "opening.failed": refusedAsTold,
        "connection.closed": endedEarly,
        "close": closedAsAsked,
        "*": unforeseen,
      },
      states: {
        checkingAdmission: {
          entry: "evaluateAdmission",
          always: [{ guard: isHeld("admission"), target: "admitting" }, refusedFor("admission")],
        },
        admitting: {
          on: {
            "connection.securing": { target: "securing", actions: { type: "waitFor", params: { what: "TLS" } } },
          },
        },
        securing: {
          on: {
            "tls.secured": {
              target: "#connectionGate.verifying",
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
      entry: "evaluateChecks",
      initial: firstCheck,
      states: checkStates(verified, refusedFor),
    },
    opening: {
      after: { deadline: timedOut },
      on: {
        "connection.opened": { target: "established", actions: ["markOpened", "sayEstablished"] },
        "trust.changed": {
          target: "reverifying",
          actions: { type: "begin", params: ({ event }) => ({ snapshot: event.snapshot }) },
        },
        "tls.failed": refusedAsTold,
        "opening.failed": refusedAsTold,
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
      entry: "evaluateChecks",
      initial: firstCheck,
      states: checkStates(verifiedAgain, closedFor),
    },
    refused: { type: "final", entry: "sayRefused" },
    closed: { type: "final", entry: "sayClosed" },
  },
});

/** The phase of a value of the machine's state. */
export function phaseOf(value: string | Readonly<Record<string, unknown>>): GatePhase {
  if (typeof value === "string") return value as GatePhase;
  if ("handshaking" in value) return value["handshaking"] === "securing" ? "securing" : "admitting";
  return "verifying" in value ? "verifying" : "reverifying";
}
