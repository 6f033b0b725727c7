/**
 * One check of one log: its node is asked for the proof that it continues the state that is held, then for the proof that each state which
 * other witnesses hold is continued too.
 *
 * ```
 *  asking ── an answer, or none ──▶ judging ── continued ──▶ next ── a state is told ──▶ comparing ─▶ compared ─▶ next
 *                                      │ forked                └── no more ─▶ ended          ▲  forked │
 *                                      └──────────▶ ended ◀────────────────────────────────────────────┘
 * ```
 *
 * An unproven state is neither accepted nor an accusation.
 *
 * @module
 */
import { assign, enqueueActions, sendTo, setup } from "xstate";
import type { PeerText, RequestAnswer } from "../../transport/port.ts";
import type { AuditResponse, ProofAsked } from "../../transport/protocols/messages.ts";
import type { HasParent } from "../runtime/parent.ts";
import type { Ports } from "../runtime/ports.ts";
import { answerAs, type TransportRef } from "../runtime/role.ts";
import type { OpenedHead } from "./held_head.ts";
import { judgeOwner, judgeTold, needsProof, type TrustAt, type Verdict } from "./judge.ts";

/** The node answers within this, in milliseconds. */
export const proofTimeoutMs = 10_000;

/** What another witness holds. */
export interface ToldHead {
  readonly head: OpenedHead;
  /** The witness's certificate name and PeerID. */
  readonly from: string;
}

/** The input of a check. */
export interface CheckInput extends HasParent<CheckEnded> {
  readonly ports: Pick<Ports, "now">;
  readonly transport: TransportRef;
  readonly peer: PeerText;
  /** The node's certificate name and PeerID. */
  readonly from: string;
  readonly origin: string;
  readonly held: OpenedHead | undefined;
  readonly told: readonly ToldHead[];
  readonly trust: () => TrustAt;
}

/** What a check tells its parent. */
export interface CheckEnded {
  readonly type: "check.ended";
  readonly origin: string;
  /** The state that is held now; undefined where none was proven yet. */
  readonly head: OpenedHead | undefined;
  readonly verdict: Verdict;
  /** Who sent what decided. */
  readonly from: string;
  /** The node has proven its newest state, and that it continues the held one. */
  readonly isProven: boolean;
  /** The node does not take part. */
  readonly isUnsupported: boolean;
}

/** What a check knows. */
export interface CheckContext extends CheckInput {
  readonly verdict: Verdict;
  /** Who sent what the verdict is about. */
  readonly about: string;
  readonly isProven: boolean;
  readonly isUnsupported: boolean;
}

/** What a check receives. */
export type CheckEvent =
  | { readonly type: "proof"; readonly answer: AuditResponse }
  | { readonly type: "proof.missing"; readonly code: string };

function eventOf(answer: RequestAnswer): CheckEvent {
  if (answer.type === "request.failed") return { type: "proof.missing", code: answer.error.code };
  return { type: "proof", answer: answer.message as AuditResponse };
}

const notAnswered = (code: string): Verdict => ({
  type: "unproven",
  detail: `the node did not answer (${code})`,
  cause: code === "unsupported" || code === "no-answer" || code === "malformed" ? "refused" : "silent",
});

const checkSetup = setup({
  types: { input: {} as CheckInput, context: {} as CheckContext, events: {} as CheckEvent },
  guards: {
    isContinued: ({ context }) => context.verdict.type === "continued",
    isForked: ({ context }) => context.verdict.type === "forked",
    hasTold: ({ context }) => context.told.length > 0,
    /** The told state is decided without a proof. */
    isPlain: ({ context: { held, told: [next] } }) =>
      held === undefined || next === undefined || !needsProof(held, next.head),
  },
  actions: {
    ask: sendTo(({ context }) => context.transport, ({ context, self }, { old, until }: {
      readonly old: number;
      readonly until: number | null;
    }) => ({
      type: "request",
      id: `audit/${context.origin}/${old}`,
      peer: context.peer,
      dial: "never" as const,
      protocol: "/hypha-audit/1" as const,
      message: { Prove: { origin: context.origin, old, new: until } satisfies ProofAsked },
      timeoutMs: proofTimeoutMs,
      replyTo: answerAs(self, eventOf),
    })),
    judgeOwner: assign(({ context: { origin, held, trust } }, { answer }: { readonly answer: AuditResponse }) => {
      const verdict = judgeOwner({ origin, held, answer, trust: trust() });
      const isProven = verdict.type === "continued";
      return { verdict, isProven, held: isProven ? verdict.head : held };
    }),
    noteMissing: assign((_, { code }: { readonly code: string }) => ({
      verdict: notAnswered(code),
      isUnsupported: code === "unsupported",
    })),
    judgeTold: enqueueActions((
      { context: { held, told: [next, ...told], trust, verdict: former }, enqueue },
      { answer }: { readonly answer?: AuditResponse },
    ) => {
      enqueue.assign({ told });
      if (held === undefined || next === undefined) return;
      const verdict = judgeTold({ held, told: next.head, answer, trust: trust() });
      // A state that the node did not prove is reported, whatever it proves of the next ones.
      if (verdict.type === "continued" && former.type === "unproven") return;
      enqueue.assign({ verdict, about: next.from });
    }),
    sendEnd: sendTo(
      ({ context }) => context.parent,
      ({ context: { origin, held: head, verdict, about: from, isProven, isUnsupported } }): CheckEnded => (
        { type: "check.ended", origin, head, verdict, from, isProven, isUnsupported }
      ),
    ),
  },
});

/** One check. */
export const auditCheckMachine = checkSetup.createMachine({
  id: "auditCheck",
  context: ({ input }) => ({
    ...input,
    verdict: { type: "unproven", detail: "the node got no request", cause: "silent" },
    about: input.from,
    isProven: false,
    isUnsupported: false,
  }),
  initial: "asking",
  states: {
    asking: {
      entry: { type: "ask", params: ({ context }) => ({ old: context.held?.size ?? 0, until: null }) },
      on: {
        proof: { target: "judging", actions: { type: "judgeOwner", params: ({ event }) => event } },
        "proof.missing": { target: "judging", actions: { type: "noteMissing", params: ({ event }) => event } },
      },
    },
    judging: { always: [{ guard: "isContinued", target: "next" }, { target: "ended" }] },
    next: {
      always: [
        { guard: "isForked", target: "ended" },
        { guard: "hasTold", target: "choosing" },
        { target: "ended" },
      ],
    },
    choosing: {
      always: [
        { guard: "isPlain", target: "next", actions: { type: "judgeTold", params: {} } },
        { target: "comparing" },
      ],
    },
    comparing: {
      entry: {
        type: "ask",
        params: ({ context: { held, told: [next] } }) => ({ old: next?.head.size ?? 0, until: held?.size ?? null }),
      },
      on: {
        proof: { target: "next", actions: { type: "judgeTold", params: ({ event }) => event } },
        "proof.missing": { target: "next", actions: { type: "judgeTold", params: {} } },
      },
    },
    ended: { type: "final", entry: "sendEnd" },
  },
});
