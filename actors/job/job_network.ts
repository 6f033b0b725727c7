/**
 * The job network over a transport actor: requests and streams as Effects, and incoming pushes for the jobs that receive them.
 *
 * One job network host serves all jobs of a worker. The worker's machine passes it each `stream.received` fact. It serves the
 * push protocols only while a job receives. A push with a label (`docs/wire.md`, "Extensions") goes to the job of its training and run
 * that waits for its round; any other push is routed by its sender.
 *
 * @module
 */
import { Effect, Exit } from "effect";
import {
  type PeerText,
  type ReplyTo,
  type StreamAnswer,
  type StreamHandle,
  type TransportAsk,
  TransportError,
  type TransportFact,
} from "../../transport/port.ts";
import { moreOf, RareReports } from "../../transport/core/rare_reports.ts";
import type { MessageProtocol, ProtocolMessages } from "../../transport/protocols/messages.ts";
import { monotonicNow, type Ports } from "../runtime/ports.ts";
import { type LabelledStream, readLabel } from "../files/labelled_stream.ts";
import { isFramed, pushProtocols } from "../files/stream_file.ts";
import { untilRelayHasRoom } from "./busy_relay.ts";
import type { JobNetwork } from "./network.ts";
import { chooseByLabel, chooseBySender, Receiver } from "./receiver.ts";

/** The worker's side of the job network. */
export interface JobNetworkHost {
  /** The network that its jobs get. */
  readonly network: JobNetwork;
  /** Passes an incoming push to a job that receives from that peer, or rejects it. */
  offer(fact: Extract<TransportFact, { type: "stream.received" }>): void;
  /** The transport ended: fails the jobs that wait for a stream. */
  stop(): void;
}

/** The existing network's limit on an exchange (`docs/wire.md`, "Protocols"). */
const openTimeoutMs = 10_000;
/** A push has written its head within this, in milliseconds. */
export const headMs = 10_000;
/** Pushes of one peer whose heads are being read; one more is rejected. */
export const headsOfPeerMax = 16;

/**
 * Makes the job network of one worker.
 *
 * @param transport The transport's actor, of which only `send` is used.
 */
export function makeJobNetworkHost(
  transport: ReplyTo<TransportAsk>,
  ports: Pick<Ports, "uuid" | "run" | "report" | "random" | "now" | "monotonic">,
): JobNetworkHost {
  const receivers = new Set<Receiver>();
  const heads = new Heads(receivers, ports);
  return {
    network: {
      request: (peer, protocol, message, timeoutMs) =>
        untilRelayHasRoom(request(transport, ports, { peer, protocol, message, timeoutMs }), ports.random),
      openStream: (peer, [protocol, fallback], timeoutMs = openTimeoutMs) =>
        untilRelayHasRoom(
          openStream(
            (id, replyTo) => transport.send({ type: "stream.open", id, peer, protocol, fallback, timeoutMs, replyTo }),
            ports,
          ),
          ports.random,
        ),
      receive: (options) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            // A round may take longer than an unused link lasts, and a lost link counts as an absent peer.
            const receiver = new Receiver(options, (type, peers) => transport.send({ type, peers }));
            receivers.add(receiver);
            if (receivers.size === 1) {
              for (const protocol of pushProtocols) transport.send({ type: "serve", protocol });
            }
            return receiver;
          }),
          (receiver) =>
            Effect.suspend(() => {
              receivers.delete(receiver);
              transport.send({ type: "release", peers: receiver.kept });
              if (receivers.size === 0) {
                for (const protocol of pushProtocols) transport.send({ type: "unserve", protocol });
              }
              return receiver.close("the job no longer receives");
            }),
        ),
    },
    offer({ exchange, peer, protocol }) {
      const isPush = pushProtocols.some((ours) => ours === protocol);
      const isTaken = isPush && [...receivers].some((receiver) => receiver.takes(peer));
      if (isTaken && isFramed(protocol) && heads.hasRoom(peer)) {
        return transport.send({ type: "stream.accept", exchange, replyTo: heads.expect(peer) });
      }
      const receiver = isTaken && !isFramed(protocol) ? chooseBySender(receivers, peer) : undefined;
      if (receiver === undefined) return transport.send({ type: "stream.reject", exchange });
      receiver.waiting += 1;
      const replyTo = { send: (answer: StreamAnswer) => receiver.answered(answer) };
      transport.send({ type: "stream.accept", exchange, replyTo });
    },
    stop() {
      for (const receiver of receivers) {
        receiver.fail(new TransportError({ code: "stopped", detail: "transport ended" }));
      }
    },
  };
}

/** Pushes whose heads are being read: which job each belongs to is known after that. */
class Heads {
  readonly #receivers: ReadonlySet<Receiver>;
  readonly #ports: Pick<Ports, "run" | "report">;
  readonly #counts = new Map<PeerText, number>();
  readonly #reports: RareReports;

  constructor(receivers: ReadonlySet<Receiver>, ports: Pick<Ports, "run" | "report" | "now" | "monotonic">) {
    this.#receivers = receivers;
    this.#ports = ports;
    this.#reports = new RareReports(() => monotonicNow(ports));
  }

  hasRoom(peer: PeerText): boolean {
    return (this.#counts.get(peer) ?? 0) < headsOfPeerMax;
  }

  /** Counts a push; what is returned takes its stream. */
  expect(peer: PeerText): ReplyTo<StreamAnswer> {
    this.#count(peer, 1);
    return {
      send: (answer) => answer.type === "stream.opened" ? this.#route(answer.stream) : this.#count(peer, -1),
    };
  }

  #count(peer: PeerText, by: number): void {
    const count = (this.#counts.get(peer) ?? 0) + by;
    if (count === 0) this.#counts.delete(peer);
    else this.#counts.set(peer, count);
  }

  #route(stream: StreamHandle): void {
    const { peer } = stream;
    this.#ports.run(readLabel(stream, { idleMs: headMs }), (exit) => {
      this.#count(peer, -1);
      const chosen = chooseByHead(this.#receivers, peer, exit);
      if ("receiver" in chosen) {
        return chosen.receiver.answered({ type: "stream.opened", id: stream.id, stream: chosen.stream });
      }
      this.#report(peer, chosen);
      this.#ports.run(stream.abort(chosen.reason), () => {});
    });
  }

  /** Reports a push that is not taken: at most one a minute for each member and kind. */
  #report(peer: PeerText, { reason, fields }: Unwanted): void {
    const untold = this.#reports.note(peer, "code" in fields ? String(fields["code"]) : reason);
    if (untold === undefined) return;
    this.#ports.report({
      level: "warn",
      event: "push.refused",
      message: `Cannot take file of ${peer}: ${reason}${moreOf(untold)}`,
      fields: { peer, reason, untold, ...fields },
    });
  }
}

/** A push that no job here takes. */
interface Unwanted {
  readonly reason: string;
  /** `code` is its kind, where the reason has a peer's numbers in it. */
  readonly fields: Readonly<Record<string, unknown>>;
}

type Chosen = { readonly receiver: Receiver; readonly stream: StreamHandle } | Unwanted;

/** Chooses by what a push says of itself, and counts it for its receiver. */
function chooseByHead(
  receivers: ReadonlySet<Receiver>,
  peer: PeerText,
  exit: Exit.Exit<LabelledStream, TransportError>,
): Chosen {
  if (Exit.isFailure(exit)) return { reason: "its head is late", fields: {} };
  const { stream, label } = exit.value;
  if (label === undefined) {
    const receiver = chooseBySender(receivers, peer);
    if (receiver === undefined) return { reason: "no job here waits for it", fields: {} };
    receiver.waiting += 1;
    return { receiver, stream };
  }
  const { training, run, job, round } = label;
  const chosen = chooseByLabel(receivers, peer, label);
  if (!("receiver" in chosen)) return { ...chosen, fields: { code: "push-mismatch", training, run, job, round } };
  chosen.receiver.pin(peer, label);
  chosen.receiver.waiting += 1;
  return { receiver: chosen.receiver, stream };
}

function request<P extends MessageProtocol>(
  transport: ReplyTo<TransportAsk>,
  ports: Pick<Ports, "uuid">,
  ask: { peer: PeerText; protocol: P; message: ProtocolMessages[P]["request"]; timeoutMs: number },
): Effect.Effect<ProtocolMessages[P]["response"], TransportError> {
  return Effect.callback((resume) => {
    const id = ports.uuid();
    const replyTo: Extract<TransportAsk, { type: "request" }>["replyTo"] = {
      send: (answer) =>
        // The transport decoded the response as the protocol's own, so the message is of that type.
        resume(
          answer.type === "response"
            ? Effect.succeed(answer.message as ProtocolMessages[P]["response"])
            : Effect.fail(answer.error),
        ),
    };
    transport.send({ type: "request", id, ...ask, replyTo });
    return Effect.sync(() => transport.send({ type: "request.cancel", id }));
  });
}

/** Opening a stream cannot be cancelled: a stream that opens after the interruption is reset. */
function openStream(
  ask: (id: string, replyTo: ReplyTo<StreamAnswer>) => void,
  ports: Pick<Ports, "uuid">,
): Effect.Effect<StreamHandle, TransportError> {
  return Effect.callback((resume) => {
    let interrupted = false;
    ask(ports.uuid(), {
      send(answer) {
        if (answer.type === "stream.failed") return resume(Effect.fail(answer.error));
        if (interrupted) Effect.runFork(answer.stream.abort("no longer wanted"));
        else resume(Effect.succeed(answer.stream));
      },
    });
    return Effect.sync(() => {
      interrupted = true;
    });
  });
}
