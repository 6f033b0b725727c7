/**
 * One dial of a peer by its PeerID: at the addresses that the wire remembers, and at those that a search of the DHT finds.
 *
 * @module
 */
import { Result } from "effect";
import type { Refusal } from "../../pki/refusal.ts";
import type { AddressText, PeerText } from "../port.ts";
import { namingPeer } from "./addresses.ts";
import type { Clock, Timer } from "./clock.ts";
import type { GiveUp, Wire, WireConnection, WireTarget } from "./wire.ts";

/** How long no address may answer before the peer is searched for, in milliseconds. Callers wait a few times as long. */
export const silentMs = 2_000;

type Outcome = Result.Result<WireConnection, Refusal>;

/** Answers of a search that are dialled at most. */
export const answersMax = 4;

/** What the dial of a peer is made with. */
export interface PeerDialInit {
  readonly wire: Pick<Wire, "dial" | "findPeer">;
  readonly clock: Pick<Clock, "after" | "cancel">;
  readonly target: { readonly peer: PeerText; readonly fresh?: true };
  /** Whether a handshake with the peer is under way. */
  readonly isSecuring: () => boolean;
  /** Whether a gate of this node refused the peer, and not another peer at its address: no other address is tried then. */
  readonly isRefused: () => boolean;
  /** Called once, unless the dial is given up first. Of several failures the last counts. */
  readonly done: (outcome: Outcome) => void;
}

/**
 * Dials a peer. It is searched for once: when the addresses that are remembered lead nowhere, or when none of them has answered
 * for {@linkcode silentMs}. The peer may have moved, and others know where to. The first answer may be wrong, so the addresses of later
 * ones are dialled, too.
 */
export class PeerDial {
  readonly #init: PeerDialInit;
  /** The dials and the search under way. */
  readonly #underWay = new Set<{ giveUp: GiveUp }>();
  #timer: Timer | undefined;
  #isSearched = false;
  /** Addresses that the search found. */
  readonly #found = new Set<AddressText>();
  #answers = 0;
  #outcome: Outcome | undefined;

  /** Begins it. */
  constructor(init: PeerDialInit) {
    this.#init = init;
    this.#dial(init.target);
    if (this.#underWay.size > 0) this.#watch();
  }

  /** Ends what is under way; `done` is not called any more. */
  giveUp(): void {
    this.#init.clock.cancel(this.#timer);
    const underWay = [...this.#underWay];
    this.#underWay.clear();
    for (const one of underWay) one.giveUp();
  }

  #watch(): void {
    const { clock, isSecuring } = this.#init;
    this.#timer = clock.after(silentMs, () => isSecuring() ? this.#watch() : this.#search());
  }

  #dial(target: WireTarget): void {
    const { wire, isRefused } = this.#init;
    this.#begin<Outcome>((ended) => wire.dial(target, ended), (outcome) => {
      this.#outcome = outcome;
      if (Result.isSuccess(outcome) || isRefused()) return this.#end();
      this.#search();
      this.#endWithLast();
    });
  }

  /** The first dial goes on meanwhile: its other addresses may lead there. */
  #search(): void {
    if (this.#isSearched) return;
    this.#isSearched = true;
    const { wire, clock, target } = this.#init;
    clock.cancel(this.#timer);
    const dialFound = (found: readonly AddressText[]) => {
      const addresses = found.map((address) => namingPeer(address, target.peer)).filter((each) =>
        !this.#found.has(each)
      );
      if (addresses.length === 0 || this.#answers === answersMax) return;
      this.#answers += 1;
      for (const address of addresses) this.#found.add(address);
      this.#dial({ ...target, addresses });
    };
    this.#begin<void>((ended) => wire.findPeer(target.peer, dialFound, ended), () => this.#endWithLast());
  }

  #begin<T>(start: (ended: (result: T) => void) => GiveUp, done: (result: T) => void): void {
    const one = { giveUp: () => {} };
    this.#underWay.add(one);
    one.giveUp = start((result) => {
      if (this.#underWay.delete(one)) done(result);
    });
  }

  #endWithLast(): void {
    if (this.#underWay.size === 0) this.#end();
  }

  #end(): void {
    this.giveUp();
    if (this.#outcome !== undefined) this.#init.done(this.#outcome);
  }
}
