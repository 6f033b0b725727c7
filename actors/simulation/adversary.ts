/**
 * Peers that keep to no machine of ours: they speak frames by hand, with whatever certificate they have.
 *
 * @module
 */
import type { PeerText } from "../../transport/port.ts";
import type { Message, MessageProtocol } from "../../transport/protocols/messages.ts";
import type { AnyFrame } from "../../transport/simulated/frames.ts";
import type { Frame, VirtualNetwork, WireEnd } from "../../transport/simulated/network.ts";

/** What an adversary has and does. */
export interface AdversaryOptions {
  readonly name: string;
  readonly network: VirtualNetwork;
  readonly address: string;
  /** Leaf first; empty where it shows none. */
  readonly chain: readonly Uint8Array[];
  /** Whether it has the key of its leaf. */
  readonly proven: boolean;
  readonly version?: string;
  /** Dials and says nothing. */
  readonly silent?: boolean;
}

/** What it got. */
export interface AdversaryResult {
  dials: number;
  /** Connections on which it was let in: the multiplexer was agreed on. */
  admitted: number;
  refused: number;
}

/** An adversary. */
export class Adversary {
  readonly #options: AdversaryOptions;
  readonly result: AdversaryResult = { dials: 0, admitted: 0, refused: 0 };
  readonly ends = new Set<WireEnd>();
  /** Called when it was let in, which insiders are. */
  onAdmitted: (end: WireEnd) => void = () => {};
  /** Hears what is answered. */
  onFrame: (frame: AnyFrame) => void = () => {};
  #numbers = 0;

  constructor(options: AdversaryOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }
  get chain(): readonly Uint8Array[] {
    return this.#options.chain;
  }

  /** Dials a node. */
  dial(to: string): void {
    const { network, name, address, silent = false } = this.#options;
    this.result.dials += 1;
    network.dial(name, address, to, (end) => {
      if (end === undefined) return;
      this.ends.add(end);
      end.onFrame = (frame) => this.#heard(end, frame);
      end.onClosed = () => {
        this.ends.delete(end);
        this.result.refused += 1;
      };
      if (!silent) end.send({ type: "hello" });
    });
  }

  #heard(end: WireEnd, frame: Frame): void {
    const { chain, proven, version = "TLSv1.3" } = this.#options;
    if (frame.type === "certificate") {
      end.send({ type: "certificate", version, chain, proven } as AnyFrame);
      // It speaks at once, not waiting for a verdict.
      this.request(end, "/hypha-health/0.0.1", {});
    } else if (frame.type === "muxer") {
      this.result.admitted += 1;
      end.send({ type: "muxer.agreed" });
      this.onAdmitted(end);
    } else this.onFrame(frame as AnyFrame);
  }

  /** Sends a request; `undefined` stands for what doesn't decode. */
  request(end: WireEnd, protocol: MessageProtocol, message: Message | undefined): string {
    this.#numbers += 1;
    const stream = `${this.name}/${this.#numbers}`;
    end.send({ type: "request", stream, protocol, message } as AnyFrame);
    return stream;
  }

  /** Offers a push, and sends bytes on it without waiting. */
  push(end: WireEnd, bytes: Uint8Array): void {
    this.#numbers += 1;
    const stream = `${this.name}/${this.#numbers}`;
    end.send({ type: "stream.open", stream, protocol: "/hypha-tensor-stream/push" } as AnyFrame);
    end.send({ type: "stream.data", stream, bytes, size: bytes.length } as AnyFrame);
    end.send({ type: "stream.end", stream } as AnyFrame);
  }

  /** Says that somebody else asked for workers. */
  gossip(end: WireEnd, from: PeerText, frame: Omit<Extract<AnyFrame, { type: "gossip" }>, "type" | "from">): void {
    end.send({ ...frame, type: "gossip", from } as AnyFrame);
  }

  stop(): void {
    for (const end of [...this.ends]) end.close("the adversary left");
  }
}
