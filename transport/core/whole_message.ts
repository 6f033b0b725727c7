/**
 * One whole message of a stream, within bounds.
 *
 * @module
 */
import { TransportError } from "../port.ts";
import { GrowingBytes } from "./growing_bytes.ts";

/** Bytes that several messages may hold together while they arrive. */
export class ReadBudget {
  readonly #maxBytes: number;
  #heldBytes = 0;
  /** Messages that count here now. */
  users = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Takes bytes; false where there are too many. They count all the same until they are given back. */
  take(bytes: number): boolean {
    this.#heldBytes += bytes;
    return this.#heldBytes <= this.#maxBytes;
  }

  /** Gives bytes back. */
  give(bytes: number): void {
    this.#heldBytes -= bytes;
  }
}

/** What has arrived of a message. Its owner calls {@linkcode WholeMessage.take} or {@linkcode WholeMessage.drop} once. */
export class WholeMessage {
  readonly #maxBytes: number;
  readonly #budget: ReadBudget | undefined;
  readonly #bytes = new GrowingBytes();
  #countedBytes = 0;

  /**
   * @param maxBytes Size of the largest message.
   * @param budget What this message holds counts there until it is taken or dropped.
   */
  constructor(maxBytes: number, budget?: ReadBudget) {
    this.#maxBytes = maxBytes;
    this.#budget = budget;
  }

  /**
   * Adds a piece.
   *
   * @returns `too-large` where the message, or all messages of the budget together, exceed their size. The message is dropped.
   */
  add(piece: Uint8Array): TransportError | undefined {
    this.#countedBytes += piece.byteLength;
    const isAffordable = this.#budget?.take(piece.byteLength) ?? true;
    if (this.#countedBytes > this.#maxBytes) return this.#tooLarge(`more than ${this.#maxBytes} bytes`);
    if (!isAffordable) return this.#tooLarge("too many bytes of messages that have not ended");
    this.#bytes.append(piece);
    return undefined;
  }

  #tooLarge(detail: string): TransportError {
    this.drop();
    return new TransportError({ code: "too-large", detail });
  }

  /** The message, once the other side has ended. */
  take(): Uint8Array {
    const bytes = this.#bytes.take();
    this.drop();
    return bytes;
  }

  /** Gives up what has arrived. */
  drop(): void {
    this.#budget?.give(this.#countedBytes);
    this.#countedBytes = 0;
    this.#bytes.clear();
  }
}
