/**
 * Hostile peers of a simulated network: without a core, with whatever certificate they have.
 *
 * @module
 */
import { Result } from "effect";
import type { WireConnection } from "../../transport/core/wire.ts";
import type { NodeIdentity } from "../../transport/port.ts";
import {
  isMessageProtocol,
  type Message,
  type MessageProtocol,
  type WorkerRequest,
  workerTopic,
} from "../../transport/protocols/messages.ts";
import { decodeMessage, encodeMessage, encodeWorkerRequest } from "../../transport/protocols/mod.ts";
import { Directory } from "../../transport/simulated/directory.ts";
import type { StreamDataFrame } from "../../transport/simulated/frames.ts";
import type { Frame, LinkEnd, VirtualNetwork } from "../../transport/simulated/network.ts";
import { SimulatedWire } from "../../transport/simulated/wire.ts";
import { type HostileAnswer, HostilePeer } from "./hostile_peer.ts";
import type { NodeClock } from "./node_clock.ts";

/** What an adversary has and does. */
export interface AdversaryOptions {
  readonly name: string;
  readonly network: VirtualNetwork;
  readonly clock: NodeClock;
  readonly address: string;
  readonly uuid: () => string;
  /** Its own PeerID, where its certificate has one. */
  readonly peer: string;
  /** Leaf first; empty where it shows none. */
  readonly chain: readonly Uint8Array[];
  /** Whether it has the key of its leaf. */
  readonly proven: boolean;
  readonly version?: string;
  /** Dials and says nothing. */
  readonly silent?: boolean;
}

/** What does not decode in any protocol of messages. */
const garbage = Uint8Array.of(0xff, 0x00, 0xff);
const health: MessageProtocol = "/hypha-health/0.0.1";

/** An adversary. */
export class Adversary {
  readonly #options: AdversaryOptions;
  readonly #peer: HostilePeer;
  readonly #silent = new Set<LinkEnd>();
  /** Called when it was let in, which insiders are. */
  onAdmitted: (connection: WireConnection) => void = () => {};
  /** Receives what its requests are answered with. */
  onAnswer: (message: Message) => void = () => {};

  constructor(options: AdversaryOptions) {
    this.#options = options;
    const { name, network, clock, address, proven, version, uuid } = options;
    const pretends = { proven, ...(version === undefined ? {} : { version }) };
    const host = { name, network, clock, directory: new Directory(), address, stopped: false, pretends };
    const identity = shown(options);
    const wire = new SimulatedWire(host, { identity, uuid, relay: "off", externalAddresses: [] });
    this.#peer = new HostilePeer(wire, identity);
    this.#peer.onOpened = (connection) => this.onAdmitted(connection);
    wire.start(this.#peer, () => {});
    network.tamper(name, speakingEarly);
  }

  get chain(): readonly Uint8Array[] {
    return this.#options.chain;
  }

  /** Dials a node. */
  dial(to: string): void {
    const { network, name, address, silent = false } = this.#options;
    if (!silent) return this.#peer.dial(to);
    network.dial(name, address, to, (end) => {
      if (end === undefined) return;
      this.#silent.add(end);
      end.onClosed = () => this.#silent.delete(end);
    });
  }

  /** Sends a request; `undefined` stands for what does not decode. */
  request(connection: WireConnection, protocol: MessageProtocol, message: Message | undefined): void {
    // The adversary sends any message over any protocol, also one that the protocol does not have.
    const bytes = message === undefined ? garbage : encodeMessage(protocol, "request", message as never);
    this.#peer.exchange(connection, protocol, bytes, (answer) => this.#answered(answer));
  }

  #answered({ protocol, bytes, ended }: HostileAnswer): void {
    if (!ended || bytes.length === 0 || !isMessageProtocol(protocol)) return;
    const decoded = decodeMessage(protocol, "response", bytes);
    if (Result.isSuccess(decoded)) this.onAnswer(decoded.success);
  }

  /** Offers a push, and sends bytes on it without waiting. */
  push(connection: WireConnection, bytes: Uint8Array): void {
    this.#peer.exchange(connection, "/hypha-tensor-stream/push", bytes);
  }

  /** Asks all workers at once. */
  publish(request: WorkerRequest): void {
    this.#peer.wire.publish(workerTopic, encodeWorkerRequest(request), () => {});
  }

  stop(): void {
    for (const end of [...this.#silent]) end.close("the adversary left");
    this.#peer.wire.stop(() => {});
  }
}

function shown({ name, peer, chain }: AdversaryOptions): NodeIdentity {
  return { peer, chain, certPem: "", keyPem: "", generation: 1, name, notAfter: new Date(8.64e15) };
}

/** It does not wait for a verdict: right after its certificate it asks. */
function speakingEarly(frame: Frame): readonly { readonly frame: Frame; readonly laterMs: number }[] {
  if (frame.type !== "certificate") return [{ frame, laterMs: 0 }];
  return [{ frame, laterMs: 0 }, { frame: early, laterMs: 0 }];
}

const question = encodeMessage(health, "request", {});
const early: StreamDataFrame = {
  type: "stream.data",
  stream: 1,
  protocol: health,
  opens: "quietly",
  bytes: question,
  ends: true,
  isReply: false,
  size: question.length,
};
