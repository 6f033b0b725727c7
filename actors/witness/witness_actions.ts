/**
 * The actions of a witness: asking nodes about their logs, telling other witnesses, answering.
 *
 * @module
 */
import type { PeerIdentity } from "../../pki/path.ts";
import type { NoProof } from "../../transport/protocols/messages.ts";
import { auditHeadsMax } from "../../transport/protocols/mod.ts";
import type { PeerText, RequestAnswer, TransportAsk, TransportFact } from "../../transport/port.ts";
import { present } from "../runtime/present.ts";
import type { ReceivedRequest } from "../runtime/requests.ts";
import { answerAs, type TransportRef } from "../runtime/role.ts";
import { nameOf, otherLogsMax, provenAgainMs, sharedLogsMax } from "./book.ts";
import type { CheckEnded } from "./check.ts";
import { type Fork, headMessage, type OpenedHead, openHead } from "./held_head.ts";
import { judgeTold, type Verdict } from "./judge.ts";
import { type HeldLogs, witnessEveryMs } from "./witness_port.ts";
import {
  checksMax,
  looksUntilRepeat,
  ownBinding,
  type OwnEvent,
  proofsWaitingMax,
  type Stored,
  type StoreInput,
  type WitnessArgs,
  type WitnessContext,
} from "./witness_setup.ts";

const protocol = "/hypha-audit/1";
/** How long the answer of a witness that is told something is waited for, in milliseconds. */
const tellTimeoutMs = 10_000;

// ── Peers ──

/** A member is connected. Its turn comes within a part of the first period, so that many at once are not asked at once. */
export function established(
  { context: { book, ports, everyMs = witnessEveryMs } }: WitnessArgs,
  { identity }: Extract<TransportFact, { type: "peer.established" }>,
): void {
  book.established(identity, ports.now() + ports.random() * everyMs / 10);
}

/** The node has another transport. */
export function takeTransport({ context, enqueue }: WitnessArgs, { transport }: { readonly transport: TransportRef }) {
  context.book.clear();
  enqueue.assign({ transport });
}

/** What an earlier run held. A fork stays reported until its file is removed. */
export function restore(
  { context: { book, ports }, enqueue }: WitnessArgs,
  { value: { logs, damaged } }: { readonly value: HeldLogs },
) {
  enqueue.assign({ isUnstored: false });
  book.restore(logs);
  for (const file of damaged) {
    const message = `Cannot use the state of an audit log that this witness held: it is damaged, and now in ${file}. ` +
      "That log is witnessed from the state that its node shows next";
    ports.report({ level: "error", event: "audit.witness-damaged", message, fields: { file } });
  }
  for (const { fork } of book.logs.values()) if (fork !== undefined) reportFork(ports, fork, fork.from);
}

// ── Checks ──

/** Nodes whose turn it is are asked, witnesses are told what is new. */
export function look(args: WitnessArgs): void {
  const { context: { book, ports, looks }, enqueue } = args;
  book.takeDue(ports.now());
  const isRepeat = looks + 1 >= looksUntilRepeat;
  if (isRepeat) book.forgetTold();
  enqueue.assign({ looks: isRepeat ? 0 : looks + 1 });
  enqueue.raise({ type: "witness.next" });
  tellAll(args);
}

/** Begins checks where there are places. */
export function beginChecks({ context, self, enqueue }: WitnessArgs): void {
  const { book, ports, transport } = context;
  if (transport === undefined) return;
  while (book.running < checksMax) {
    const next = book.next();
    if (next === undefined) return;
    const trust = () => trustOf(self.getSnapshot().context as WitnessContext);
    enqueue.spawnChild("check", {
      id: `check/${next.origin}`,
      input: { parent: self, ports, transport, ...next, trust },
    });
  }
}

const trustOf = ({ snapshot, ports }: WitnessContext) => ({ snapshot, at: new Date(ports.now()) });

/** A check is over. */
export function endCheck(args: WitnessArgs, { origin, head, verdict, from, ...ended }: CheckEnded): void {
  const { context: { book, ports }, enqueue } = args;
  enqueue.stopChild(`check/${origin}`);
  book.ended(origin);
  if (ended.isUnsupported) book.deaf(origin);
  const before = book.logs.get(origin);
  if (head !== undefined && before?.fork === undefined) {
    const isKept = head.note === before?.head.note && !(ended.isProven && ports.now() - before.at >= provenAgainMs);
    if (!isKept) keepHead(args, head);
  }
  if (verdict.type === "forked") noteFork(args, verdict, from);
  else if (verdict.type === "unproven" && (before !== undefined || verdict.cause === "untrusted")) {
    const log = `audit log ${origin}`;
    const what = before === undefined ? log : `that ${log} continues ${before.head.size} records`;
    reportUnproven(ports, verdict, { what, origin, from });
  }
  enqueue.raise({ type: "witness.next" });
  tellAll(args);
}

function reportUnproven(
  ports: WitnessContext["ports"],
  { detail, cause }: Extract<Verdict, { type: "unproven" }>,
  { what, origin, from }: Readonly<Record<"what" | "origin" | "from", string>>,
): void {
  const level = cause === "silent" ? "debug" : "warn"; // a connection that ended proves nothing
  const message = `Cannot verify ${what}: ${detail}`;
  ports.report({ level, event: "audit.unproven", message, fields: { origin, detail, from } });
}

function keepHead(args: WitnessArgs, head: OpenedHead): void {
  const { context: { book, ports } } = args;
  const { origin } = head;
  const left = book.hold({ head, isShared: book.isShared(origin), at: ports.now(), fork: undefined });
  if (left === "full") {
    const message = `Cannot witness audit log ${origin}: states of ${sharedLogsMax} logs of gateways and CAs and of ` +
      `${otherLogsMax} others are held already`;
    return ports.report({ level: "warn", event: "audit.witness-full", message, fields: { origin } });
  }
  noteUnstored(args, left === undefined ? [origin] : [origin, left]);
}

/** Two signed states that no honest log has: both are kept and reported. Where there is no place for the log, they are only reported. */
function noteFork(args: WitnessArgs, { problem, held, other }: Fork, from: string): void {
  const { context: { book, ports } } = args;
  const log = book.logs.get(held.origin);
  if (log?.fork !== undefined) return;
  if (log !== undefined) {
    book.hold({ ...log, fork: { problem, held, other, from, at: ports.now() } });
    book.forgetTold(); // the other witnesses get both states
    noteUnstored(args, [held.origin]);
  }
  reportFork(ports, { problem, held, other }, from);
}

const problems: Readonly<Record<Fork["problem"], string>> = {
  "split": "it has two states of one size",
  "shrunk": "it has fewer records than before",
  "rewritten": "it does not continue its earlier state",
  "other-key": "another key signs it",
};

function reportFork(ports: WitnessContext["ports"], { problem, held, other }: Fork, from: string): void {
  const { origin } = held;
  ports.report({
    level: "error",
    event: "audit.fork",
    message: `Audit log ${origin} was rewritten or is kept twice: ${problems[problem]} ` +
      `(${held.size} records and ${other.size} records)`,
    fields: { code: "audit-fork", origin, problem, held: held.note, other: other.note, from },
  });
}

// ── Telling ──

function tellAll(args: WitnessArgs): void {
  for (const witness of [...args.context.book.tellable()]) tell(args, witness);
}

function tell(
  args: WitnessArgs,
  { origin: witness, peer }: { readonly origin: string; readonly peer: PeerText },
): void {
  const { context: { book }, self } = args;
  const heads = book.tell(witness, auditHeadsMax);
  if (heads.length === 0) return;
  send(args, {
    type: "request",
    id: `audit/tell/${witness}`,
    peer,
    dial: "never",
    protocol,
    message: { Held: heads.map(headMessage) },
    timeoutMs: tellTimeoutMs,
    replyTo: answerAs(self, (answer: RequestAnswer): OwnEvent => ({ type: "witness.told", witness, answer })),
  });
}

/** A witness answered, or did not. */
export function told(args: WitnessArgs, { witness, answer }: Extract<OwnEvent, { type: "witness.told" }>): void {
  const { book } = args.context;
  const isUnsupported = answer.type === "request.failed" && answer.error.code === "unsupported";
  if (isUnsupported) book.deaf(witness);
  if (!book.toldEnded(witness, answer.type === "response" ? "taken" : "failed")) return;
  for (const each of [...book.tellable()].filter(({ origin }) => origin === witness)) tell(args, each);
}

/** Sends to the transport. Without one the node has no connections: there is no one to tell or to answer. */
function send({ context: { transport }, enqueue }: WitnessArgs, ask: TransportAsk): void {
  if (transport !== undefined) enqueue.sendTo(transport, ask);
}

// ── Answers ──

/** Answers a witness: what it holds at once, a proof in its turn. */
export function answerRequest(args: WitnessArgs, request: ReceivedRequest): void {
  const { message, exchange } = request;
  if ("Held" in message) return takeHeld(args, request, message.Held.map(openHead));
  if (!("Prove" in message)) return decline(args, exchange);
  const { log, transport, waiting } = args.context;
  const newest = log?.newest();
  const { origin, old, new: until } = message.Prove;
  if (log !== undefined && newest === undefined) return noProof(args, exchange, "no-checkpoint");
  if (newest?.origin !== origin) return noProof(args, exchange, "no-log");
  if (until !== null && old > until) return decline(args, exchange);
  if (waiting.length >= proofsWaitingMax) return noProof(args, exchange, "unavailable");
  if (transport === undefined) return;
  args.enqueue.assign({ waiting: [...waiting, { request, transport, asked: message.Prove }] });
}

function takeHeld(
  args: WitnessArgs,
  { exchange, identity }: ReceivedRequest,
  heads: readonly (OpenedHead | undefined)[],
) {
  const noted = heads.filter((head) => head !== undefined && takeTold(args, identity, head)).length;
  send(args, { type: "respond", exchange, message: { Noted: noted } });
  args.enqueue.raise({ type: "witness.next" });
}

function takeTold(args: WitnessArgs, teller: PeerIdentity, head: OpenedHead): boolean {
  const { book, ports } = args.context;
  const taken = book.takeTold(teller, head, ports.now());
  if (taken !== "judge") return taken === "asked";
  const { head: held } = present(book.logs.get(head.origin), "the held state");
  const verdict = judgeTold({ held, told: head, answer: undefined, trust: trustOf(args.context) });
  const from = nameOf(teller);
  if (verdict.type === "forked") noteFork(args, verdict, from);
  if (verdict.type === "unproven") {
    const { origin } = head;
    reportUnproven(ports, verdict, { what: `what another witness holds of audit log ${origin}`, origin, from });
  }
  return verdict.type !== "unproven";
}

function decline(args: WitnessArgs, exchange: string): void {
  send(args, { type: "decline", exchange });
}

function noProof(args: WitnessArgs, exchange: string, why: NoProof): void {
  send(args, { type: "respond", exchange, message: { NoProof: why } });
}

/** What the next proof needs; undefined where it cannot be made. */
export function proveInput({ ports, log, waiting: [first], bound }: WitnessContext) {
  const { request, asked: { old, new: until } } = present(first, "the request");
  if (bound?.binding === undefined) return undefined;
  const { newest, binding } = bound;
  const size = Math.min(until ?? newest.size, newest.size);
  // A log that has fewer records than were asked for says so by its checkpoint.
  return { ports, log, newest, binding, exchange: request.exchange, old: old > size ? 0 : old, size };
}

/** The key of the log's newest state is bound to the certificate that the node has now. */
export function bind({ context, enqueue }: WitnessArgs): void {
  enqueue.assign({ bound: ownBinding(context) });
}

/** A proof was made. */
export function respond(
  { context: { waiting: [first, ...waiting] }, enqueue }: WitnessArgs,
  { exchange, message }: Pick<
    Extract<Parameters<TransportRef["send"]>[0], { type: "respond" }>,
    "exchange" | "message"
  >,
): void {
  enqueue.assign({ waiting });
  enqueue.sendTo(present(first, "the request").transport, { type: "respond", exchange, message });
}

/** A proof could not be made. */
export function refuse(args: WitnessArgs, { detail }: { readonly detail: string | undefined }): void {
  const { context: { ports, waiting: [first, ...waiting] }, enqueue } = args;
  const { request: { exchange, peer: from }, transport } = present(first, "the request");
  enqueue.assign({ waiting });
  enqueue.sendTo(transport, { type: "respond", exchange, message: { NoProof: "unavailable" } });
  if (detail === undefined) return;
  ports.report({ level: "error", event: "audit.unprovable", message: detail, fields: { from } });
}

// ── Storing ──

function noteUnstored({ enqueue }: WitnessArgs, origins: readonly string[]): void {
  enqueue.assign(({ context: { unstored } }) => ({ unstored: new Set([...unstored, ...origins]) }));
}

/** What is to be stored now. */
export function storeInput({ ports, heads, book, unstored }: WitnessContext): StoreInput {
  return { ports, heads, logs: [...unstored].map((origin) => [origin, book.logs.get(origin)] as const) };
}

/** States are stored, or some of them. */
export function stored(args: WitnessArgs, { value: { logs, failure } }: { readonly value: Stored }) {
  const { context: { book }, enqueue } = args;
  const done = new Set(logs.filter(([origin, log]) => book.logs.get(origin) === log).map(([origin]) => origin));
  enqueue.assign(({ context: { unstored } }) => ({
    unstored: new Set([...unstored].filter((origin) => !done.has(origin))),
  }));
  if (failure === undefined) enqueue.assign({ isUnstored: false });
  else notStored(args, { error: failure });
}

export interface Failure {
  readonly error: Error;
}

/** States could not be read. Without them a log that shrank meanwhile would be accepted. */
export function notRead(args: WitnessArgs, { error }: Failure) {
  noteFailure(args, `Cannot read states of audit logs: ${error.message}; no log is witnessed until they can be read`);
}

/** States could not be stored. */
export function notStored(args: WitnessArgs, { error }: Failure) {
  noteFailure(args, `Cannot keep states of audit logs: ${error.message}`);
}

function noteFailure({ context: { ports, isUnstored }, enqueue }: WitnessArgs, message: string): void {
  enqueue.assign({ isUnstored: true });
  if (isUnstored) return;
  ports.report({ level: "warn", event: "audit.witness-unstored", message });
}
