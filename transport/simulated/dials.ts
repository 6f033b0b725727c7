/**
 * Dials over the virtual network: to a peer, to an address, and through a relay.
 *
 * @module
 */
import { Result } from "effect";
import { HungUp, type Refusal, Unreachable } from "../../pki/refusal.ts";
import { withoutPeer } from "../core/addresses.ts";
import type { GiveUp, WireConnection, WireTarget } from "../core/wire.ts";
import type { AddressText, PeerText } from "../port.ts";
import type { ConnectionInit, SimulatedConnection } from "./connection.ts";
import type { LinkEnd } from "./network.ts";

type Outcome = Result.Result<WireConnection, Refusal>;

/** What dials need of their wire. */
export interface DialOwner {
  readonly isStopped: boolean;
  mayDial(address: AddressText): boolean;
  /** Addresses of a peer that the wire remembers. */
  knownAddresses(peer: PeerText): readonly AddressText[];
  /** The oldest open connection of a peer. */
  open(peer: PeerText): SimulatedConnection | undefined;
  /** The same, unless it runs through a relay. */
  direct(peer: PeerText): SimulatedConnection | undefined;
  /** Reaches an address of the network; nothing is called back once the process has ended. */
  reach(address: AddressText, done: (link: LinkEnd | undefined, why: string) => void): void;
  circuit(over: SimulatedConnection, peer: PeerText, done: (link: Result.Result<LinkEnd, Refusal>) => void): void;
  /** Makes a connection of a link and begins its handshake. */
  dialled(init: Omit<ConnectionInit, "createdAt" | "direction">): SimulatedConnection;
  later(task: () => void): void;
}

/** A dial under way. */
interface Dial {
  isGivenUp: boolean;
  connection: SimulatedConnection | undefined;
  readonly done: (outcome: Outcome) => void;
}

/** Where a dial leads. */
interface Place {
  readonly address: AddressText;
  readonly peer: PeerText | undefined;
}

/** The dials of one wire. */
export class SimulatedDials {
  readonly #owner: DialOwner;
  readonly #dials = new Set<Dial>();

  constructor(owner: DialOwner) {
    this.#owner = owner;
  }

  dial(target: WireTarget, done: (outcome: Outcome) => void): GiveUp {
    const dial: Dial = { isGivenUp: false, connection: undefined, done };
    this.#dials.add(dial);
    const settle = (outcome: Outcome) => this.#settle(dial, outcome);
    if (this.#owner.isStopped) settle(Result.fail(stopping()));
    else if ("address" in target) this.#dialAddress(dial, target.address, settle);
    else this.#dialPeer(dial, target, settle);
    return () => {
      dial.isGivenUp = true;
      if (this.#dials.delete(dial)) dial.connection?.close("now", "the dial was given up");
    };
  }

  stop(): void {
    for (const dial of [...this.#dials]) this.#settle(dial, Result.fail(stopping()));
  }

  #settle(dial: Dial, outcome: Outcome): void {
    if (!this.#dials.delete(dial)) return;
    this.#owner.later(() => {
      if (!dial.isGivenUp) dial.done(outcome);
    });
  }

  #dialPeer(
    dial: Dial,
    { peer, addresses, fresh }: Extract<WireTarget, { readonly peer: PeerText }>,
    done: (outcome: Outcome) => void,
  ): void {
    const open = fresh === true ? undefined : this.#owner.open(peer);
    if (open !== undefined) return done(Result.succeed(open));
    const known = addresses ?? this.#owner.knownAddresses(peer);
    if (known.length === 0) return done(unreachable("no address of this peer is known"));
    this.#dialEach(dial, peer, known, done);
  }

  /** One address after the other; the failure of the last counts. */
  #dialEach(
    dial: Dial,
    peer: PeerText,
    [address = "", ...others]: readonly AddressText[],
    done: (outcome: Outcome) => void,
  ): void {
    this.#open(dial, { address, peer }, (outcome) => {
      if (Result.isSuccess(outcome) || others.length === 0) return done(outcome);
      if (this.#dials.has(dial)) this.#dialEach(dial, peer, others, done);
    });
  }

  #dialAddress(dial: Dial, address: AddressText, done: (outcome: Outcome) => void): void {
    const peer = peerOf(address);
    const open = peer === undefined ? undefined : this.#owner.open(peer);
    const isBetter = open?.relay !== undefined && relayOf(address) === undefined;
    if (open !== undefined && !isBetter) return done(Result.succeed(open));
    this.#open(dial, { address, peer }, done);
  }

  #open(dial: Dial, place: Place, done: (outcome: Outcome) => void): void {
    const owner = this.#owner;
    if (!owner.mayDial(place.address)) return done(unreachable("this address may not be dialled"));
    const relay = relayOf(place.address);
    if (relay !== undefined) return this.#openThrough(dial, place, relay, done);
    owner.reach(withoutPeer(place.address), (link, why) => {
      if (!this.#dials.has(dial)) return link?.close("the dial was given up");
      if (link !== undefined) return this.#dialled(dial, link, { ...place, relay: undefined }, done);
      // Reset as soon as it was accepted: a peer is there.
      done(why === "connection reset" ? Result.fail(new HungUp({ detail: why })) : unreachable(why));
    });
  }

  #openThrough(dial: Dial, place: Place, relay: PeerText, done: (outcome: Outcome) => void): void {
    const { address, peer } = place;
    if (peer === undefined) return done(unreachable("the address names no peer behind the relay"));
    const over = this.#owner.direct(relay);
    if (over === undefined) {
      const outer = { address: address.slice(0, address.indexOf("/p2p-circuit")), peer: relay };
      return this.#open(dial, outer, (outcome) => {
        if (Result.isFailure(outcome)) return done(outcome);
        if (this.#owner.direct(relay) === undefined) return done(Result.fail(new HungUp({ detail: "the relay left" })));
        if (this.#dials.has(dial)) this.#openThrough(dial, place, relay, done);
      });
    }
    this.#owner.circuit(over, peer, (connected) => {
      if (Result.isFailure(connected)) return done(Result.fail(connected.failure));
      if (!this.#dials.has(dial)) return connected.success.close("the dial was given up");
      this.#dialled(dial, connected.success, { ...place, relay }, done);
    });
  }

  #dialled(
    dial: Dial,
    link: LinkEnd,
    { address, peer, relay }: Place & { readonly relay: PeerText | undefined },
    settle: (outcome: Outcome) => void,
  ): void {
    dial.connection = this.#owner.dialled({ link, address, relay, expectedPeer: peer, settle });
  }
}

const stopping = () => new HungUp({ detail: "this node stops" });
const unreachable = (detail: string): Outcome => Result.fail(new Unreachable({ detail }));

/** The PeerID at an address's end. */
export function peerOf(address: AddressText): PeerText | undefined {
  return /\/p2p\/([^/]+)$/.exec(address)?.[1];
}

/** The relay of a relayed address. */
export function relayOf(address: AddressText): PeerText | undefined {
  return /\/p2p\/([^/]+)\/p2p-circuit/.exec(address)?.[1];
}
