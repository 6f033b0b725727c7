/**
 * Reservations and circuits, of a node that relays and of one that is reached through a relay.
 *
 * @module
 */
import { Result } from "effect";
import { type Refusal, Unreachable } from "../../pki/refusal.ts";
import { reservationsMax, reservationTtlMs } from "../core/admission.ts";
import type { Timer } from "../core/clock.ts";
import type { WireListener } from "../core/wire.ts";
import type { PeerText } from "../port.ts";
import { CircuitEnd } from "./circuit.ts";
import type { SimulatedConnection } from "./connection.ts";
import type { RelayFrame } from "./frames.ts";
import type { LinkEnd } from "./network.ts";

/** Circuits that one connection of a relay may carry, as production's relays do. */
const circuitsPerConnectionMax = 256;
/** A relay answers within this, in milliseconds. */
const answerMs = 6_000;

/** What relaying needs of its wire. */
export interface RelayOwner {
  readonly serves: boolean;
  readonly listener: Pick<WireListener, "permits">;
  /** The oldest open connection to a peer that is no circuit itself. */
  direct(peer: PeerText): SimulatedConnection | undefined;
  /** A peer reached this node through a relay. */
  accept(link: LinkEnd, over: SimulatedConnection, from: PeerText): void;
  /** Milliseconds that never go back. */
  monotonic(): number;
  after(delayMs: number, task: () => void): Timer;
  cancel(timer: Timer | undefined): void;
  /** The reservations of this node changed: it has other addresses. */
  reservationsChanged(): void;
  reservationLost(relay: PeerText): void;
}

/** What a number of a circuit means at one connection. */
type Side =
  | { readonly type: "end"; readonly link: CircuitEnd }
  | { readonly type: "passage"; readonly to: SimulatedConnection; readonly circuit: number }
  | { readonly type: "asked"; readonly answer: (connected: Result.Result<CircuitEnd, Refusal>) => void };

type FrameOf<T extends RelayFrame["type"]> = Extract<RelayFrame, { type: T }>;

/** The relaying of one wire. */
export class SimulatedRelay {
  readonly #owner: RelayOwner;
  /**
   * Peers that can be reached through this node, and until when. As production's relays do it keeps the reservation of a peer that
   * has left; who asks again renews it.
   */
  readonly #granted = new Map<PeerText, number>();
  /** Relays through which this node can be reached. */
  readonly #held = new Map<PeerText, SimulatedConnection>();
  readonly #asking = new Map<SimulatedConnection, (granted: boolean) => void>();
  readonly #circuits = new Map<SimulatedConnection, Map<number, Side>>();
  #numbers = 0;

  constructor(owner: RelayOwner) {
    this.#owner = owner;
  }

  /** The connections to relays that hold a reservation for this node. */
  get relays(): Iterable<SimulatedConnection> {
    return this.#held.values();
  }

  /** Asks for a reservation. */
  reserve(over: SimulatedConnection, done: (granted: boolean) => void): void {
    if (!over.isOpen || this.#asking.has(over)) return void this.#owner.after(0, () => done(false));
    const timer = this.#owner.after(answerMs, () => this.#asking.get(over)?.(false));
    this.#asking.set(over, (granted) => {
      this.#asking.delete(over);
      this.#owner.cancel(timer);
      if (granted && over.peer !== undefined && over.isOpen) {
        this.#held.set(over.peer, over);
        this.#owner.reservationsChanged();
      } else if (over.peer !== undefined) this.#lose(over, over.peer);
      done(granted);
    });
    over.sendFrame({ type: "relay.reserve" });
  }

  /** Asks the relay at the other end of a connection for a circuit. */
  connect(
    over: SimulatedConnection,
    peer: PeerText,
    done: (connected: Result.Result<LinkEnd, Refusal>) => void,
  ): void {
    const circuit = this.#number(over);
    const answer = (connected: Result.Result<CircuitEnd, Refusal>) => {
      this.#owner.cancel(timer);
      this.#forget(over, circuit);
      if (Result.isSuccess(connected)) this.#sidesOf(over).set(circuit, { type: "end", link: connected.success });
      done(connected);
    };
    const timer = this.#owner.after(answerMs, () => {
      over.sendFrame({ type: "relay.end", circuit, by: "lost", detail: "the dial was given up" });
      answer(Result.fail(new Unreachable({ detail: "the relay did not answer" })));
    });
    this.#sidesOf(over).set(circuit, { type: "asked", answer });
    over.sendFrame({ type: "relay.connect", circuit, peer });
  }

  /** Takes a reservation back. */
  unreserve(peer: PeerText): void {
    this.#granted.delete(peer);
  }

  received(from: SimulatedConnection, frame: RelayFrame): void {
    switch (frame.type) {
      case "relay.reserve":
        return this.#reserve(from);
      case "relay.reserved":
        return this.#asking.get(from)?.(frame.granted);
      case "relay.connect":
        return this.#connect(from, frame);
      case "relay.incoming":
        return this.#incoming(from, frame);
      case "relay.connected":
        return this.#connected(from, frame.circuit);
      case "relay.refused":
        return this.#refused(from, frame);
      case "relay.frame":
        return this.#frame(from, frame);
      case "relay.end":
        return this.#end(from, frame);
    }
  }

  /** A connection ended, and what it carried with it. */
  left(over: SimulatedConnection): void {
    const { peer } = over;
    this.#asking.get(over)?.(false);
    const sides = [...this.#circuits.get(over)?.entries() ?? []];
    this.#circuits.delete(over);
    for (const [circuit, side] of sides) {
      this.#endSide(side, { type: "relay.end", circuit, by: "lost", detail: "the relay's connection ended" });
    }
    if (peer === undefined) return;
    this.#lose(over, peer);
  }

  #lose(over: SimulatedConnection, relay: PeerText): void {
    if (this.#held.get(relay) !== over) return;
    this.#held.delete(relay);
    this.#owner.reservationsChanged();
    this.#owner.reservationLost(relay);
  }

  // ── At the relay ──

  #reserve(from: SimulatedConnection): void {
    const { peer } = from;
    this.#expire();
    const hasRoom = peer !== undefined && (this.#granted.has(peer) || this.#granted.size < reservationsMax);
    const isPermitted = this.#owner.serves && this.#owner.listener.permits(from, "relay.reserve");
    const granted = isPermitted && from.relay === undefined && hasRoom;
    if (granted) this.#granted.set(peer as PeerText, this.#owner.monotonic() + reservationTtlMs);
    from.sendFrame({ type: "relay.reserved", granted });
  }

  #connect(from: SimulatedConnection, { circuit, peer }: FrameOf<"relay.connect">): void {
    const refuse = (why: string) => from.sendFrame({ type: "relay.refused", circuit, why });
    this.#expire();
    const to = this.#granted.has(peer) ? this.#owner.direct(peer) : undefined;
    if (!this.#owner.serves || !this.#owner.listener.permits(from, "relay.reserve")) return refuse("not permitted");
    if (to === undefined || from.peer === undefined) {
      return refuse("no reservation of this peer");
    }
    if (this.#sidesOf(from).has(circuit)) return refuse("the circuit's number is taken");
    if (from.circuits >= circuitsPerConnectionMax || to.circuits >= circuitsPerConnectionMax) {
      return refuse("too many circuits");
    }
    const further = this.#number(to);
    this.#sidesOf(from).set(circuit, { type: "passage", to, circuit: further });
    this.#sidesOf(to).set(further, { type: "passage", to: from, circuit });
    from.circuits += 1;
    to.circuits += 1;
    to.sendFrame({ type: "relay.incoming", circuit: further, from: from.peer });
  }

  #expire(): void {
    const now = this.#owner.monotonic();
    for (const [peer, until] of this.#granted) {
      if (now >= until) this.#granted.delete(peer);
    }
  }

  /** Ends one direction's entry, and tells who is behind it. */
  #endSide(side: Side, { by, detail }: FrameOf<"relay.end">): void {
    if (side.type === "end") return side.link.ended({ by, detail });
    if (side.type === "asked") return side.answer(Result.fail(new Unreachable({ detail })));
    const back = this.#circuits.get(side.to)?.get(side.circuit);
    this.#forget(side.to, side.circuit);
    if (back?.type === "passage") {
      side.to.circuits -= 1;
      back.to.circuits -= 1;
    }
    side.to.sendFrame({ type: "relay.end", circuit: side.circuit, by, detail });
  }

  // ── At the ends ──

  #incoming(over: SimulatedConnection, { circuit, from }: FrameOf<"relay.incoming">): void {
    const isPermitted = this.#owner.listener.permits(over, "relay.connect");
    const isHeld = isPermitted && over.peer !== undefined && this.#held.get(over.peer) === over;
    if (!isHeld || this.#sidesOf(over).has(circuit) || this.#sidesOf(over).size >= circuitsPerConnectionMax) {
      return over.sendFrame({ type: "relay.refused", circuit, why: "not expected" });
    }
    const link = new CircuitEnd(over, circuit, () => this.#forget(over, circuit));
    this.#sidesOf(over).set(circuit, { type: "end", link });
    over.sendFrame({ type: "relay.connected", circuit });
    this.#owner.accept(link, over, from);
  }

  #connected(from: SimulatedConnection, circuit: number): void {
    const side = this.#circuits.get(from)?.get(circuit);
    if (side?.type === "passage") side.to.sendFrame({ type: "relay.connected", circuit: side.circuit });
    else if (side?.type === "asked") {
      const link = new CircuitEnd(from, circuit, () => this.#forget(from, circuit));
      side.answer(Result.succeed(link));
    }
  }

  #refused(from: SimulatedConnection, { circuit, why }: FrameOf<"relay.refused">): void {
    const side = this.#circuits.get(from)?.get(circuit);
    if (side === undefined || side.type === "end") return;
    this.#forget(from, circuit);
    if (side.type === "asked") return side.answer(Result.fail(new Unreachable({ detail: why })));
    this.#forget(side.to, side.circuit);
    side.to.circuits -= 1;
    from.circuits -= 1;
    side.to.sendFrame({ type: "relay.refused", circuit: side.circuit, why });
  }

  #frame(from: SimulatedConnection, { circuit, frame, size }: FrameOf<"relay.frame">): void {
    const side = this.#circuits.get(from)?.get(circuit);
    if (side?.type === "end") side.link.onFrame(frame);
    else if (side?.type === "passage") {
      side.to.sendFrame({ type: "relay.frame", circuit: side.circuit, frame, size });
    }
  }

  #end(from: SimulatedConnection, frame: FrameOf<"relay.end">): void {
    const side = this.#circuits.get(from)?.get(frame.circuit);
    if (side === undefined) return;
    this.#forget(from, frame.circuit);
    this.#endSide(side, frame);
  }

  /** A number that the other end does not choose: its are of the other parity, unless it breaks the rule. */
  #number(over: SimulatedConnection): number {
    for (;;) {
      this.#numbers += 1;
      const number = 2 * this.#numbers + (over.direction === "outbound" ? 1 : 0);
      if (this.#circuits.get(over)?.has(number) !== true) return number;
    }
  }

  #sidesOf(over: SimulatedConnection): Map<number, Side> {
    const known = this.#circuits.get(over);
    if (known !== undefined) return known;
    const fresh = new Map<number, Side>();
    this.#circuits.set(over, fresh);
    return fresh;
  }

  #forget(over: SimulatedConnection, circuit: number): void {
    const sides = this.#circuits.get(over);
    sides?.delete(circuit);
    if (sides?.size === 0) this.#circuits.delete(over);
  }
}
