/**
 * What waits for the turn of a simulated CA: where the operation that has it waits for the token, all of these wait for virtual time.
 *
 * @module
 */
import { Effect } from "effect";
import type { CertificateAuthority, InTurn } from "../../ca/certificate_authority.ts";

/** Counts operations of a CA that wait for one that is under way. */
export class CountedTurns {
  #waiting = 0;
  #isTaken = false;

  /** Operations that begin only when the one that has the turn is over. */
  get waiting(): number {
    return this.#isTaken ? this.#waiting : 0;
  }

  /** The turns of a CA, counted. */
  of({ inTurn, inLine }: CertificateAuthority): Pick<CertificateAuthority, "inTurn" | "inLine"> {
    return { inTurn: this.#counted(inTurn), inLine: (address) => this.#counted(inLine(address)) };
  }

  #counted(inTurn: InTurn): InTurn {
    return (operation) =>
      Effect.suspend(() => {
        let isWaiting = true;
        const begin = () => {
          if (isWaiting) this.#waiting -= 1;
          isWaiting = false;
        };
        this.#waiting += 1;
        const begun = Effect.suspend(() => {
          begin();
          this.#isTaken = true;
          return Effect.ensuring(operation, Effect.sync(() => this.#isTaken = false));
        });
        return Effect.ensuring(inTurn(begun), Effect.sync(begin)); // one that is refused never began
      });
  }
}
