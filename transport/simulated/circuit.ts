/**
 * One end of a circuit: a link whose frames travel over a connection to a relay.
 *
 * @module
 */
import type { SimulatedConnection } from "./connection.ts";
import type { Frame, LinkClosed, LinkEnd } from "./network.ts";

/** What a frame of a circuit takes beside its payload, in octets. */
const overheadBytes = 64;

/** One end of a circuit. */
export class CircuitEnd implements LinkEnd {
  onFrame: (frame: Frame) => void = () => {};
  onClosed: (closed: LinkClosed) => void = () => {};
  readonly remote: string;
  readonly #over: SimulatedConnection;
  readonly #circuit: number;
  readonly #forget: () => void;
  #open = true;

  constructor(over: SimulatedConnection, circuit: number, forget: () => void) {
    this.#over = over;
    this.#circuit = circuit;
    this.#forget = forget;
    this.remote = over.remoteHost;
  }

  get open(): boolean {
    return this.#open;
  }

  send(frame: Frame): void {
    if (!this.#open) return;
    const size = (frame.size ?? 0) + overheadBytes;
    this.#over.sendFrame({ type: "relay.frame", circuit: this.#circuit, frame, size });
  }

  close(detail: string): void {
    if (!this.#open) return;
    const by = "them" as const;
    this.#over.sendFrame({ type: "relay.end", circuit: this.#circuit, by, detail: "the peer ended the connection" });
    this.ended({ by: "us", detail });
  }

  /** The other end, or the connection to the relay, is gone. */
  ended(closed: LinkClosed): void {
    if (!this.#open) return;
    this.#open = false;
    this.#forget();
    this.onClosed(closed);
  }
}
