/**
 * How the transport speaks: never inside the call that made it speak, in the order in which it was said.
 *
 * @module
 */
import type { ReplyTo, TransportFact } from "../port.ts";

/** Delivers answers to askers and facts to the parent. */
export interface Outbox {
  /** Says a fact to the parent. */
  tell(fact: TransportFact): void;
  /** From now on facts go there, and no longer to the parent. */
  redirect(factsTo: ReplyTo<TransportFact>): void;
  /** Answers an asker; one that is gone or throws harms nobody else. */
  answer<Answer>(replyTo: ReplyTo<Answer>, answer: Answer): void;
  /** After this nothing is delivered any more. */
  close(): void;
}

/** Makes an outbox that hands facts to `deliver`, each in a microtask of its own. */
export function outbox(deliver: (fact: TransportFact) => void): Outbox {
  let open = true;
  let to = deliver;
  const later = (say: () => void) =>
    queueMicrotask(() => {
      if (!open) return;
      try {
        say();
      } catch {
        // Whoever was told threw: its owner's supervisor knows, and the next one is told all the same.
      }
    });
  return {
    tell: (fact) => later(() => to(fact)),
    redirect: (factsTo) => {
      to = (fact) => factsTo.send(fact);
    },
    answer: (replyTo, answer) => later(() => replyTo.send(answer)),
    close: () => {
      open = false;
    },
  };
}
