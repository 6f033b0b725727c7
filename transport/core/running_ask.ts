/**
 * An ask about a record, from its beginning to its one answer.
 *
 * @module
 */
import { type RecordAnswer, type TransportAsk, TransportError } from "../port.ts";
import type { Timer } from "./clock.ts";
import type { SessionParts } from "./parts.ts";
import type { GiveUp } from "./wire.ts";

type RecordAsk = Extract<TransportAsk, { type: "record.put" | "record.get" }>;

/** An ask until its answer. */
export class RunningAsk {
  readonly #parts: Pick<SessionParts, "clock" | "outbox">;
  readonly #ask: RecordAsk;
  readonly #over: () => void;
  readonly #timer: Timer;
  #giveUp: GiveUp = () => {};
  #late: () => void = () => {};
  #ended: () => void = () => {};
  /** Whether it was answered. */
  isOver = false;

  /** @param over Called once, before the answer. */
  constructor(parts: Pick<SessionParts, "clock" | "outbox">, ask: RecordAsk, over: () => void) {
    this.#parts = parts;
    this.#ask = ask;
    this.#over = over;
    const { timeoutMs } = ask;
    this.#timer = parts.clock.after(timeoutMs, () => {
      this.#late();
      this.fail("timed-out", `not done after ${timeoutMs} ms`);
    });
  }

  /** Sets what the end of this ask gives up, in place of the previous one. */
  until(giveUp: GiveUp): void {
    this.#giveUp = giveUp;
  }

  /** Sets what may answer at the end of its time: with what there is by then. */
  onLate(late: () => void): void {
    this.#late = late;
  }

  /** Sets what else is called at its end. */
  onOver(ended: () => void): void {
    this.#ended = ended;
  }

  fail(code: TransportError["code"], detail: string): void {
    this.answer({ type: "record.failed", id: this.#ask.id, error: new TransportError({ code, detail }) });
  }

  answer(answer: RecordAnswer): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#parts.clock.cancel(this.#timer);
    this.#giveUp();
    this.#ended();
    this.#over();
    this.#parts.outbox.answer(this.#ask.replyTo, answer);
  }
}
