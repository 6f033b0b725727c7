/**
 * The transport actor: owns libp2p and the gates of its connections, moves bytes, asks the gate, decides nothing.
 *
 * It speaks `port.ts`. Every ask has exactly one answer; whatever is asked before `start` or after `drain` is answered
 * with `stopped`. Stopping the actor closes everything.
 *
 * @module
 */
import { type CallbackActorLogic, fromCallback } from "xstate";
import { Internal } from "../../pki/refusal.ts";
import { type Outbox, outbox } from "./outbox.ts";
import { type TransportAsk, TransportError, type TransportFact, type TransportInput } from "../port.ts";
import { Session, type SessionAsk, type Started } from "./session.ts";

/** The logic of the transport actor; everything it says unasked goes to its parent. */
export const transportLogic: CallbackActorLogic<TransportAsk, TransportInput> = fromCallback<
  TransportAsk,
  TransportInput
>(({ input, receive, sendBack }) => {
  const box = outbox((fact: TransportFact) => sendBack(fact));
  const state: State = { input, box, phase: "idle", session: undefined, early: [] };
  receive((ask) => hear(state, ask));
  return () => {
    state.phase = "stopped";
    box.close();
    state.session?.stop("the node stopped").catch(() => {});
  };
});

/** What is still done while connections are let finish: what was begun is answered. */
const finishing: ReadonlySet<TransportAsk["type"]> = new Set([
  "respond",
  "decline",
  "stream.reject",
  "trust.changed",
  "counters",
  "peers",
]);
/** Asks that are kept while libp2p starts; more are answered with `stopped`. */
const earlyAsksMax = 1_024;

interface State {
  input: TransportInput;
  readonly box: Outbox;
  phase: "idle" | "starting" | "started" | "draining" | "stopped";
  session: Session | undefined;
  readonly early: SessionAsk[];
}

function hear(state: State, ask: TransportAsk): void {
  const { box, session, phase, early } = state;
  if (ask.type === "start") return start(state, ask);
  if (session === undefined || phase === "idle" || phase === "stopped") return refuseAsk(state, ask);
  if (ask.type === "drain") {
    state.phase = ask.graceMs === undefined ? "stopped" : "draining";
    for (const waiting of early.splice(0)) refuseAsk(state, waiting);
    const drained = () => {
      state.phase = "stopped";
      box.answer(ask.replyTo, { type: "drained" });
    };
    session.stop("the node drains", ask.graceMs).then(drained, drained);
    return;
  }
  if (phase === "draining") return finishing.has(ask.type) ? session.hear(ask) : refuseAsk(state, ask);
  if (phase === "started" || ask.type === "trust.changed" || ask.type === "identity.changed") return session.hear(ask);
  if (early.length >= earlyAsksMax) return refuseAsk(state, ask);
  early.push(ask);
}

function start(state: State, ask: Extract<TransportAsk, { type: "start" }>): void {
  const { box, input, early } = state;
  const fail = (error: unknown) => {
    const detail = error instanceof Error ? error.message : String(error);
    const typed = error instanceof TransportError ? error : new TransportError({ code: "failed", detail });
    box.answer(ask.replyTo, { type: "transport.failed", error: typed });
  };
  if (state.phase !== "idle") return fail(new Error("it was started before"));
  state.phase = "starting";
  const session = new Session(input, box);
  state.session = session;
  const started = (listening: Started) => {
    if (state.phase === "starting") state.phase = "started";
    box.answer(ask.replyTo, { type: "listening", ...listening });
    for (const waiting of early.splice(0)) hear(state, waiting);
  };
  session.start().then(started, (error) => {
    state.phase = "stopped";
    fail(error);
    for (const waiting of early.splice(0)) refuseAsk(state, waiting);
  });
}

/** Answers what cannot be done because there is no running session. */
function refuseAsk(state: State, ask: TransportAsk): void {
  const { box, phase } = state;
  const detail = phase === "stopped" || phase === "draining"
    ? "the transport was drained"
    : "the transport was not started";
  const error = new TransportError({ code: "stopped", detail });
  switch (ask.type) {
    case "drain":
      return box.answer(ask.replyTo, { type: "drained" });
    case "retire":
      box.redirect(ask.factsTo);
      return box.answer(ask.replyTo, { type: "retired", listenAddresses: state.input.listenAddresses, peers: [] });
    case "peers":
      return box.answer(ask.replyTo, { type: "peers", list: [] });
    case "counters": {
      const counters = { accepted: 0, bytesReceived: 0, bytesSent: 0 };
      return box.answer(ask.replyTo, { type: "counters", counters });
    }
    case "dial":
      return box.answer(ask.replyTo, { type: "dial.failed", id: ask.id, refusal: new Internal({ detail }) });
    case "request":
      return box.answer(ask.replyTo, { type: "request.failed", id: ask.id, error });
    case "publish":
      return box.answer(ask.replyTo, { type: "publish.failed", id: ask.id, error });
    case "record.put":
    case "record.get":
      return box.answer(ask.replyTo, { type: "record.failed", id: ask.id, error });
    case "stream.open":
      return box.answer(ask.replyTo, { type: "stream.failed", id: ask.id, error });
    case "stream.accept":
      return box.answer(ask.replyTo, { type: "stream.failed", id: ask.exchange, error });
    // What was learnt before the start is what the start begins with.
    case "trust.changed":
      state.input = { ...state.input, snapshot: ask.snapshot };
      return;
    case "identity.changed":
      state.input = { ...state.input, identity: ask.identity };
      return;
    default:
      return;
  }
}
