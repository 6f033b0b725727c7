/**
 * The token of a CA's key in a run: a signer that can hang or vanish, as `actors/pkcs11/token_process.ts` shows such a token to its users.
 *
 * One that hangs is waited for as long as two questions and a start take, then refused; from then on every question is refused at once,
 * until the token, which is tried every few seconds, is back.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { Signer } from "../../../pki/issue/mod.ts";
import { SignerError } from "../../pkcs11/signer_error.ts";
import { answerMs, startMs, tryAgainMs } from "../../pkcs11/token_process.ts";
import type { VirtualTime } from "../virtual_time.ts";

/** How the token is. */
export type TokenState = "there" | "hangs" | "gone";

/** A question is asked a process that runs, then one that is started for it. */
export const hangMs = 2 * answerMs + startMs;

/** A token. */
export class SimulatedToken implements Signer {
  readonly #time: VirtualTime;
  readonly #key: Signer;
  /** All signatures that it made, base64. */
  readonly #made = new Set<string>();
  readonly #waiting = new Set<() => void>();
  #state: TokenState = "there";
  #failure: SignerError | undefined;

  /** @param key The key in it. */
  constructor(time: VirtualTime, key: Signer) {
    this.#time = time;
    this.#key = key;
  }

  readonly spki = (): Uint8Array => this.#key.spki();
  readonly failure = (): SignerError | undefined => this.#failure;

  /** How many questions wait for virtual time. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** Whether it signs now. */
  get canSign(): boolean {
    return this.#state === "there" && this.#failure === undefined;
  }

  /** Changes how it is. One that hung answers what waits, where it is back in time. */
  set state(state: TokenState) {
    this.#state = state;
    if (state === "there") this.release();
  }

  /** Nothing waits any more: the process that asked has ended. */
  release(): void {
    for (const resume of this.#waiting) resume();
  }

  /** Whether a signature is one of its own. */
  hasMade(signature: Uint8Array): boolean {
    return this.#made.has(Buffer.from(signature).toString("base64"));
  }

  readonly sign = async (bytes: Uint8Array): Promise<Uint8Array> => {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#state === "hangs") await this.#hang();
    if (this.#state !== "there") throw this.#failed();
    const signature = await this.#key.sign(bytes);
    this.#made.add(Buffer.from(signature).toString("base64"));
    return signature;
  };

  #hang(): Promise<void> {
    return new Promise((resolve) => {
      const resume = () => {
        this.#waiting.delete(resume);
        resolve();
      };
      this.#waiting.add(resume);
      this.#time.schedule(hangMs, resume);
    });
  }

  #failed(): SignerError {
    const detail = this.#state === "gone" ? "the token is not there" : `it did not answer within ${answerMs} ms`;
    const again = () => {
      if (this.#state === "there") this.#failure = undefined;
      else this.#time.schedule(tryAgainMs, again);
    };
    if (this.#failure === undefined) this.#time.schedule(tryAgainMs, again);
    return this.#failure = new SignerError({ code: "signer-unavailable", key: "pkcs11:token=sim;object=ca", detail });
  }
}
