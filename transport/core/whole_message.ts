/**
 * One whole message of a stream, within bounds.
 *
 * @module
 */
import { TransportError } from "../port.ts";
import { GrowingBytes } from "./growing_bytes.ts";
import type { HeldBytes } from "./held_bytes.ts";

/** What has arrived of a message. Its owner calls {@linkcode WholeMessage.take} or {@linkcode WholeMessage.drop} once. */
export class WholeMessage {
  readonly #maxBytes: number;
  readonly #held: HeldBytes | undefined;
  readonly #bytes = new GrowingBytes();
  #countedBytes = 0;

  /**
   * @param maxBytes Size of the largest message.
   * @param held What this message holds counts there until it is taken or dropped.
   */
  constructor(maxBytes: number, held?: HeldBytes) {
    this.#maxBytes = maxBytes;
    this.#held = held;
  }

  /** Bytes that have arrived. */
  get sizeBytes(): number {
    return this.#countedBytes;
  }

  /**
   * Adds a piece.
   *
   * @returns `too-large` where the message, or what all streams of its peer hold, exceeds its size. The message is dropped.
   */
  add(piece: Uint8Array): TransportError | undefined {
    this.#countedBytes += piece.byteLength;
    if (this.#countedBytes > this.#maxBytes) return this.#tooLarge(`more than ${this.#maxBytes} bytes`);
    if (this.#held?.set(this.#countedBytes) === false) return this.#tooLarge("its peer's streams hold too many bytes");
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
    this.#countedBytes = 0;
    this.#held?.set(0);
    this.#bytes.clear();
  }
}
