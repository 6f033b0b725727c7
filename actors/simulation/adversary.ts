/**
 * Hostile peers: they run no machine, and send frames by hand, with any certificate.
 *
 * @module
 */
import type { PeerText } from "../../transport/port.ts";
import type { Message, MessageProtocol } from "../../transport/protocols/messages.ts";
import type { AnyFrame } from "../../transport/simulated/frames.ts";
import type { Frame, VirtualNetwork, WireEnd } from "../../transport/simulated/network.ts";

/** An adversary's certificate and behaviour. */
export interface AdversaryOptions {
  readonly name: string;
  readonly network: VirtualNetwork;
  readonly address: string;
  /** Leaf first; empty where it presents none. */
  readonly chain: readonly Uint8Array[];
  /** Whether it holds the key of its leaf. */
  readonly proven: boolean;
  readonly version?: string;
  /** Dials and sends nothing. */
  readonly silent?: boolean;
}

/** The result of its dials. */
export interface AdversaryResult {
  dials: number;
  /** Connections that were established: the multiplexer was agreed on. */
  admitted: number;
  refused: number;
}

/** An adversary. */
export class Adversary {
  readonly #options: AdversaryOptions;
  readonly result: AdversaryResult = { dials: 0, admitted: 0, refused: 0 };
  readonly ends = new Set<WireEnd>();
  /** Called when a connection is established, as those of members are. */
  onAdmitted: (end: WireEnd) => void = () => {};
  /** Called for each frame above the handshake. */
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
      // It sends a request at once, without waiting for a verdict.
      this.request(end, "/hypha-health/0.0.1", {});
    } else if (frame.type === "muxer") {
      this.result.admitted += 1;
      end.send({ type: "muxer.agreed" });
      this.onAdmitted(end);
    } else this.onFrame(frame as AnyFrame);
  }

  /** Sends a request; `undefined` stands for bytes that do not decode. */
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

  /** Forwards a request for workers in the name of `from`. */
  gossip(end: WireEnd, from: PeerText, frame: Omit<Extract<AnyFrame, { type: "gossip" }>, "type" | "from">): void {
    end.send({ ...frame, type: "gossip", from } as AnyFrame);
  }

  stop(): void {
    for (const end of [...this.ends]) end.close("the adversary left");
  }
}
