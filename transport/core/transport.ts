/**
 * The transport actor: one core over a wire. It owns the connections and their gates, moves bytes and asks the gate.
 *
 * It speaks `port.ts`. Every ask has exactly one answer; an ask before `start` or after `drain` is answered with `stopped`.
 * Stopping the actor closes everything.
 *
 * @module
 */
import { Result } from "effect";
import { type CallbackActorLogic, fromCallback } from "xstate";
import { Internal } from "../../pki/refusal.ts";
import { type TransportAsk, TransportError, type TransportInput } from "../port.ts";
import type { Clock } from "./clock.ts";
import { type Outbox, outbox } from "./outbox.ts";
import { Session, type SessionAsk } from "./session.ts";
import type { TransportWatch } from "./transport_watch.ts";
import type { Wire } from "./wire.ts";
import { defaultWorkLimits, type WorkLimits } from "./work_budget.ts";

/** What a transport runs on. */
export interface TransportOptions {
  readonly clock: (input: TransportInput) => Clock;
  /** Makes the wire of one start. */
  readonly makeWire: (input: TransportInput, clock: Clock) => Wire;
  /** Looks on. */
  readonly watch?: TransportWatch;
  /** What a peer may cost. */
  readonly workLimits?: WorkLimits;
}

/** Asks that are handled during a drain: exchanges that have begun are answered. */
const finishing: ReadonlySet<TransportAsk["type"]> = new Set([
  "respond",
  "decline",
  "stream.reject",
  "trust.changed",
  "rules.changed",
  "counters",
  "peers",
]);
/** Changes of what peers are judged by: they hold at once, also while the wire starts. */
const changing: ReadonlySet<TransportAsk["type"]> = new Set(["trust.changed", "identity.changed", "rules.changed"]);
/** Asks that are kept while the wire starts; more are answered with `stopped`. */
const earlyAsksMax = 1_024;

/** The logic of a transport actor; its facts go to its parent. */
export function makeTransport(options: TransportOptions): CallbackActorLogic<TransportAsk, TransportInput> {
  return fromCallback<TransportAsk, TransportInput>(({ input, receive, sendBack }) => {
    const clock = options.clock(input);
    const { watch = {} } = options;
    const box = outbox({
      clock,
      deliver: sendBack,
      watch: watch.fact && ((fact) => watch.fact?.(fact, state.session)),
      watchAnswer: watch.asked?.bind(watch),
    });
    const state: State = { options, input, clock, box, watch, phase: "idle", session: undefined, early: [] };
    receive((ask) => handle(state, ask));
    return () => {
      state.phase = "stopped";
      box.close();
      state.session?.stop("the node stopped", 0, () => {});
    };
  });
}

interface State {
  readonly options: TransportOptions;
  input: TransportInput;
  readonly clock: Clock;
  readonly box: Outbox;
  readonly watch: TransportWatch;
  phase: "idle" | "starting" | "started" | "draining" | "stopped";
  session: Session | undefined;
  readonly early: SessionAsk[];
}

function handle(state: State, ask: TransportAsk): void {
  const { session, phase, early } = state;
  if (ask.type === "start") return start(state, ask);
  if (session === undefined || phase === "idle" || phase === "stopped") return refuseAsk(state, ask);
  if (ask.type === "drain") return drain(state, session, ask);
  if (phase === "draining") return finishing.has(ask.type) ? session.handle(ask) : refuseAsk(state, ask);
  if (phase === "started" || changing.has(ask.type)) {
    return session.handle(ask);
  }
  if (early.length >= earlyAsksMax) return refuseAsk(state, ask);
  early.push(ask);
}

function start(state: State, { replyTo }: Extract<TransportAsk, { type: "start" }>): void {
  const { box, clock, input, early, options, watch } = state;
  const failed = (error: TransportError) => box.answer(replyTo, { type: "transport.failed", error });
  if (state.phase !== "idle") return failed(new TransportError({ code: "failed", detail: "it was started before" }));
  state.phase = "starting";
  const session = new Session({
    input,
    clock,
    outbox: box,
    watch,
    wire: options.makeWire(input, clock),
    workLimits: options.workLimits ?? defaultWorkLimits,
  });
  state.session = session;
  session.start((started) => {
    if (Result.isFailure(started)) {
      state.phase = "stopped";
      failed(started.failure);
      for (const waiting of early.splice(0)) refuseAsk(state, waiting);
      return;
    }
    if (state.phase === "starting") state.phase = "started";
    box.answer(replyTo, { type: "listening", ...started.success });
    for (const waiting of early.splice(0)) handle(state, waiting);
  });
}

function drain(state: State, session: Session, ask: Extract<TransportAsk, { type: "drain" }>): void {
  const { box, early } = state;
  state.phase = ask.graceMs === undefined ? "stopped" : "draining";
  for (const waiting of early.splice(0)) refuseAsk(state, waiting);
  session.stop("the node drains", ask.graceMs ?? 0, () => {
    state.phase = "stopped";
    box.answer(ask.replyTo, { type: "drained" });
  });
}

/** How an ask that cannot be done without a running session is answered. */
type Refusals = { readonly [T in SessionAsk["type"]]: (ask: Extract<SessionAsk, { type: T }>) => void };

function refuseAsk(state: State, ask: Exclude<TransportAsk, { type: "start" }>): void {
  if (ask.type === "drain") return state.box.answer(ask.replyTo, { type: "drained" });
  const refuse = refusalsOf(state)[ask.type] as (ask: SessionAsk) => void;
  refuse(ask);
}

function refusalsOf(state: State): Refusals {
  const { box, phase } = state;
  const wasDrained = phase === "stopped" || phase === "draining";
  const detail = wasDrained ? "the transport was drained" : "the transport was not started";
  const error = new TransportError({ code: "stopped", detail });
  const nothing = () => {};
  const record = ({ id, replyTo }: Extract<SessionAsk, { type: "record.put" | "record.get" }>) =>
    box.answer(replyTo, { type: "record.failed", id, error });
  return {
    "retire": ({ factsTo, replyTo }) => {
      box.redirect(factsTo);
      box.answer(replyTo, { type: "retired", listenAddresses: state.input.listenAddresses, peers: [] });
    },
    "peers": ({ replyTo }) => box.answer(replyTo, { type: "peers", list: [] }),
    "counters": ({ replyTo }) => {
      const counters = { accepted: state.session?.accepted ?? 0, bytesReceived: 0, bytesSent: 0 };
      box.answer(replyTo, { type: "counters", counters });
    },
    "dial": ({ id, replyTo }) => box.answer(replyTo, { type: "dial.failed", id, refusal: new Internal({ detail }) }),
    "request": ({ id, replyTo }) => box.answer(replyTo, { type: "request.failed", id, error }),
    "publish": ({ id, replyTo }) => box.answer(replyTo, { type: "publish.failed", id, error }),
    "record.put": record,
    "record.get": record,
    "stream.open": ({ id, replyTo }) => box.answer(replyTo, { type: "stream.failed", id, error }),
    "stream.accept": ({ exchange, replyTo }) => box.answer(replyTo, { type: "stream.failed", id: exchange, error }),
    // A change before the start becomes part of the input.
    "trust.changed": ({ snapshot }) => void (state.input = { ...state.input, snapshot }),
    "identity.changed": ({ identity }) => void (state.input = { ...state.input, identity }),
    "rules.changed": ({ rules }) => void (state.input = { ...state.input, rules }),
    "close": nothing,
    "hold": nothing,
    "release": nothing,
    "serve": nothing,
    "unserve": nothing,
    "request.cancel": nothing,
    "respond": nothing,
    "decline": nothing,
    "subscribe": nothing,
    "unsubscribe": nothing,
    "stream.reject": nothing,
  };
}
