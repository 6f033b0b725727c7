/**
 * Delivers answers and facts: never inside the call that caused them, and in their order.
 *
 * @module
 */
import type { ReplyTo, TransportFact } from "../port.ts";
import type { Clock } from "./clock.ts";

/** Delivers answers to askers and facts to the parent. */
export interface Outbox {
  /** Tells the parent a fact. */
  tell(fact: TransportFact): void;
  /** From now on facts go to `factsTo`, and no longer to the parent. */
  redirect(factsTo: ReplyTo<TransportFact>): void;
  /** Answers an asker; one that has stopped or throws harms no other. */
  answer<Answer>(replyTo: ReplyTo<Answer>, answer: Answer): void;
  /** After this nothing is delivered any more. */
  close(): void;
}

/** What an outbox is made with. */
export interface OutboxInit {
  readonly clock: Pick<Clock, "soon">;
  /** Delivers a fact to the parent. */
  readonly deliver: (fact: TransportFact) => void;
  /** Sees each fact as it is delivered, also the redirected ones. */
  readonly watch?: ((fact: TransportFact) => void) | undefined;
  /** Sees each answer as it is delivered. */
  readonly watchAnswer?: ((answer: unknown) => void) | undefined;
}

/** Makes an outbox that delivers each fact and answer in a task of its own. */
export function outbox({ clock, deliver, watch, watchAnswer }: OutboxInit): Outbox {
  let open = true;
  let to = deliver;
  const later = (say: () => void) =>
    clock.soon(() => {
      if (!open) return;
      try {
        say();
      } catch {
        // The receiver threw: its owner's supervisor reports that; the next delivery goes on.
      }
    });
  return {
    tell: (fact) =>
      later(() => {
        watch?.(fact);
        to(fact);
      }),
    redirect: (factsTo) => {
      to = (fact) => factsTo.send(fact);
    },
    answer: (replyTo, answer) =>
      later(() => {
        watchAnswer?.(answer);
        replyTo.send(answer);
      }),
    close: () => {
      open = false;
    },
  };
}
