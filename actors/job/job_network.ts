/**
 * The job network over a transport actor: requests and streams as Effects, and incoming pushes for the jobs that receive them.
 *
 * One job network host serves all jobs of a worker. The worker's machine passes it each `stream.received` fact. It serves the
 * push protocols only while a job receives.
 *
 * @module
 */
import { Effect } from "effect";
import {
  type PeerText,
  type ReplyTo,
  type StreamAnswer,
  type StreamHandle,
  type TransportAsk,
  TransportError,
  type TransportFact,
} from "../../transport/port.ts";
import type { MessageProtocol, ProtocolMessages } from "../../transport/protocols/messages.ts";
import type { Ports } from "../runtime/ports.ts";
import { pushProtocols } from "../files/stream_file.ts";
import { type JobNetwork, type PushReceiver, waitingStreamsMax } from "./network.ts";

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

/**
 * Makes the job network of one worker.
 *
 * @param transport The transport's actor, of which only `send` is used.
 */
export function makeJobNetworkHost(
  transport: ReplyTo<TransportAsk>,
  ports: Pick<Ports, "uuid">,
): JobNetworkHost {
  const receivers = new Set<Receiver>();
  return {
    network: {
      request: (peer, protocol, message, timeoutMs) =>
        request(transport, ports, { peer, protocol, message, timeoutMs }),
      openStream: (peer, protocol, timeoutMs = openTimeoutMs) =>
        openStream(
          (id, replyTo) => transport.send({ type: "stream.open", id, peer, protocol, timeoutMs, replyTo }),
          ports,
        ),
      receive: ({ peers, waitingMax = waitingStreamsMax }) =>
        Effect.acquireRelease(
          Effect.sync(() => {
            const receiver = new Receiver(peers, waitingMax);
            receivers.add(receiver);
            if (receivers.size === 1) {
              for (const protocol of pushProtocols) transport.send({ type: "serve", protocol });
            }
            return receiver;
          }),
          (receiver) =>
            Effect.suspend(() => {
              receivers.delete(receiver);
              if (receivers.size === 0) {
                for (const protocol of pushProtocols) transport.send({ type: "unserve", protocol });
              }
              return receiver.close("the job no longer receives");
            }),
        ),
    },
    offer({ exchange, peer, protocol }) {
      const isPush = pushProtocols.some((ours) => ours === protocol);
      const receiver = isPush ? choose(receivers, peer) : undefined;
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

/**
 * Chooses the receiver of a push, which names its sender and no job. Receivers that name the sender take precedence over those
 * that accept all peers; among equals, the newest receiver. A worker whose resources suffice for one job sends for the job that
 * it got last, and a scheduler that restarts leaves its previous jobs behind until their leases end.
 */
function choose(receivers: ReadonlySet<Receiver>, peer: PeerText): Receiver | undefined {
  const free = [...receivers].filter((receiver) => receiver.takes(peer)).toReversed();
  return free.find((receiver) => receiver.peers !== undefined) ?? free[0];
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

/** One running receive: waiting streams, or waiting takers. */
class Receiver implements PushReceiver {
  peers: readonly PeerText[] | undefined;
  /** Streams that are accepted, or being accepted, and not taken yet. */
  waiting = 0;
  readonly #waitingMax: number;
  readonly #streams: StreamHandle[] = [];
  readonly #takers: ((taken: Effect.Effect<StreamHandle, TransportError>) => void)[] = [];
  #ended: TransportError | undefined;

  constructor(peers: readonly PeerText[] | undefined, waitingMax: number) {
    this.peers = peers;
    this.#waitingMax = waitingMax;
  }

  takes(peer: PeerText): boolean {
    return this.waiting < this.#waitingMax && (this.peers === undefined || this.peers.includes(peer));
  }

  allow(peers: readonly PeerText[] | undefined): void {
    this.peers = peers;
  }

  readonly next: Effect.Effect<StreamHandle, TransportError> = Effect.callback((resume) => {
    const stream = this.#streams.shift();
    if (stream !== undefined) {
      this.waiting -= 1;
      return resume(Effect.succeed(stream));
    }
    if (this.#ended !== undefined) return resume(Effect.fail(this.#ended));
    this.#takers.push(resume);
    return Effect.sync(() => {
      const at = this.#takers.indexOf(resume);
      if (at >= 0) this.#takers.splice(at, 1);
    });
  });

  answered(answer: StreamAnswer): void {
    if (answer.type === "stream.failed") {
      this.waiting -= 1;
      return;
    }
    const taker = this.#takers.shift();
    if (taker !== undefined) {
      this.waiting -= 1;
      return taker(Effect.succeed(answer.stream));
    }
    if (this.#ended === undefined) this.#streams.push(answer.stream);
    else Effect.runFork(answer.stream.abort(this.#ended.detail));
  }

  fail(error: TransportError): void {
    this.#ended ??= error;
    for (const taker of this.#takers.splice(0)) taker(Effect.fail(error));
  }

  close(reason: string): Effect.Effect<void> {
    this.fail(new TransportError({ code: "stopped", detail: reason }));
    return Effect.forEach(this.#streams.splice(0), (stream) => stream.abort(reason), { discard: true });
  }
}
