/**
 * Dialing: one answer for each ask, a typed refusal for each way in which it can fail, and equal dials made once.
 *
 * @module
 */
import { peerIdFromString } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import { Result } from "effect";
import { HandshakeTimeout, HungUp, PeerIdMismatch, type Refusal, Unreachable } from "../../pki/refusal.ts";
import { type AddressText, type AskTarget, type PeerText, type TransportAsk, TransportError } from "../port.ts";
import { withoutPeer } from "./addresses.ts";
import type { Clock, Timer } from "./clock.ts";
import type { ConnectionTable } from "./connection_table.ts";
import type { Connects } from "./parts.ts";
import { PeerDial } from "./peer_dial.ts";
import type { GiveUp, Wire, WireConnection } from "./wire.ts";

/** The target of a dial: a peer or an address. */
export type DialTarget = Extract<TransportAsk, { type: "dial" }>["target"];

/** Dials of one transport under way, and askers that wait for one of them. */
export const dialsMax = 1_024;
export const waitersPerDialMax = 1_024;
/**
 * How long a peer that showed no fitting certificate is not dialled again for the same member or role, in milliseconds, and how
 * many of them are remembered.
 */
export const unfitForMs = 10_000;
export const unfitMax = 1_024;

/** What a dialler is made with. */
export interface DiallerInit {
  readonly wire: Pick<Wire, "dial" | "findPeer">;
  readonly clock: Clock;
  readonly table: Pick<
    ConnectionTable,
    "mark" | "refusalSince" | "isSecuring" | "best" | "fits" | "open" | "identityOf" | "closeOne"
  >;
  /** How long a `dial` may take in all, in milliseconds. */
  readonly timeoutMs: number;
}

type Outcome = Result.Result<WireConnection, Refusal>;

/** A dial under way, for everyone who asked for the same target. */
interface Dial {
  readonly key: string;
  readonly target: ParsedTarget;
  readonly mark: number;
  readonly waiters: Set<(outcome: Outcome) => void>;
  giveUp: GiveUp;
}

/** What a target names. */
interface ParsedTarget {
  readonly peer?: PeerText;
  readonly address?: AddressText;
  /** Whom of the peer's members it is for. */
  readonly to?: AskTarget;
  /** Another connection than those that there are: none of them fits. */
  readonly fresh?: true;
}

/** Dials for a transport. */
export class Dialler implements Connects {
  readonly #init: DiallerInit;
  readonly #dials = new Map<string, Dial>();
  /** When a dial last showed that a peer has no fitting certificate. */
  readonly #unfit = new Map<string, number>();
  #stopped = false;

  /** Nothing is dialled yet. */
  constructor(init: DiallerInit) {
    this.#init = init;
  }

  /** Dials under way. */
  get size(): number {
    return this.#dials.size;
  }

  /**
   * Connects to a target, or finds the connection that there is. `done` is called later, once: with the refusal of the gate
   * where it was ours, `hung-up` where the peer ended the connection (perhaps it refused us), `handshake-timeout`,
   * `protocol-mismatch`, or `unreachable` where nothing answered.
   */
  dial(target: DialTarget, done: (outcome: Outcome) => void): void {
    const { timeoutMs } = this.#init;
    const parsed = parseTarget(target);
    if (Result.isFailure(parsed)) return this.#init.clock.soon(() => done(Result.fail(parsed.failure)));
    this.#wait(parsed.success, timeoutMs, done, () => {
      // A silent address never became a connection: it is not the handshake that took too long.
      if (this.#init.table.isSecuring(parsed.success)) {
        return new HandshakeTimeout({ state: "dialling", afterMs: timeoutMs });
      }
      return new Unreachable({ detail: `no answer within ${timeoutMs} ms` });
    });
  }

  connect(
    peer: PeerText,
    timeoutMs: number,
    done: (outcome: Result.Result<WireConnection, TransportError>) => void,
    to?: AskTarget,
  ): GiveUp {
    const failed = (code: TransportError["code"], detail: string) =>
      done(Result.fail(new TransportError({ code, detail })));
    // Parsing costs more than the rest; a peer with a connection needs none.
    const { table, clock } = this.#init;
    const isConnected = table.best(peer) !== undefined;
    const parsed = isConnected ? Result.succeed<ParsedTarget>({ peer }) : parseTarget({ peer });
    const fresh = to !== undefined && isConnected && table.best(peer, to) === undefined;
    const why = Result.isFailure(parsed) ? parsed.failure.message : undefined;
    if (Result.isFailure(parsed) || (fresh && this.#isUnfit(peer, to))) {
      let over = false;
      const code = why === undefined ? "not-authorized" : "not-connected";
      clock.soon(() => over || failed(code, why ?? "no certificate of the peer is one that this is meant for"));
      return () => over = true;
    }
    const target: ParsedTarget = {
      ...parsed.success,
      ...(to === undefined ? {} : { to }),
      ...(fresh ? { fresh } : {}),
    };
    let late = false;
    return this.#wait(target, timeoutMs, (outcome) => {
      if (Result.isSuccess(outcome) && table.fits(outcome.success, to)) return done(Result.succeed(outcome.success));
      if (late) return failed("timed-out", `no connection after ${timeoutMs} ms`);
      if (Result.isFailure(outcome) && !fresh) return failed("not-connected", outcome.failure.message);
      if (fresh) this.#noteUnfit(peer, to);
      if (fresh && Result.isSuccess(outcome)) table.closeOne(outcome.success, "it showed no certificate that fits");
      failed("not-authorized", "no certificate of the peer is one that this is meant for");
    }, () => {
      late = true;
      return new HandshakeTimeout({ state: "dialling", afterMs: timeoutMs });
    });
  }

  #isUnfit(peer: PeerText, to: AskTarget): boolean {
    const at = this.#unfit.get(keyOf({ peer, to, fresh: true }));
    return at !== undefined && this.#init.clock.monotonic() - at < unfitForMs;
  }

  #noteUnfit(peer: PeerText, to: AskTarget): void {
    const key = keyOf({ peer, to, fresh: true });
    this.#unfit.delete(key);
    this.#unfit.set(key, this.#init.clock.monotonic());
    const [oldest] = this.#unfit.size > unfitMax ? this.#unfit.keys() : [];
    if (oldest !== undefined) this.#unfit.delete(oldest);
  }

  /** Gives every dial up: its askers are told that this node stops. */
  stop(): void {
    this.#stopped = true;
    for (const dial of [...this.#dials.values()]) {
      dial.giveUp();
      this.#settle(dial, Result.fail(stopping()));
    }
  }

  /** Waits for a connection to a target, for so long. */
  #wait(
    target: ParsedTarget,
    timeoutMs: number,
    done: (outcome: Outcome) => void,
    late: () => Refusal,
  ): GiveUp {
    const { clock } = this.#init;
    let over = false;
    const end = (outcome: Outcome) => {
      if (over) return;
      leave();
      done(outcome);
    };
    const leave = () => {
      over = true;
      clock.cancel(timer);
      if (dial !== undefined) this.#leave(dial, end);
    };
    const timer: Timer = clock.after(timeoutMs, () => end(Result.fail(late())));
    const existing = this.#existing(target);
    const dial = existing === undefined ? this.#join(target, end) : undefined;
    if (existing !== undefined) clock.soon(() => end(Result.succeed(existing)));
    return leave;
  }

  /** Joins the dial for a target that is under way, or begins one. */
  #join(target: ParsedTarget, waiter: (outcome: Outcome) => void): Dial | undefined {
    const key = keyOf(target);
    const known = this.#dials.get(key);
    const why = this.#stopped ? stopping() : this.#refusal(known);
    if (why !== undefined) {
      this.#init.clock.soon(() => waiter(Result.fail(why)));
      return undefined;
    }
    if (known !== undefined) {
      known.waiters.add(waiter);
      return known;
    }
    const mark = this.#init.table.mark();
    const dial: Dial = { key, target, mark, waiters: new Set([waiter]), giveUp: () => {} };
    this.#dials.set(key, dial);
    this.#open(dial);
    return dial;
  }

  #refusal(known: Dial | undefined): Refusal | undefined {
    if (known !== undefined) {
      return known.waiters.size < waitersPerDialMax
        ? undefined
        : new Unreachable({ detail: `already ${waitersPerDialMax} askers for one dial` });
    }
    return this.#dials.size < dialsMax ? undefined : new Unreachable({ detail: `already ${dialsMax} dials` });
  }

  /** A waiter is gone. With the last one the dial is given up. */
  #leave(dial: Dial, waiter: (outcome: Outcome) => void): void {
    if (!dial.waiters.delete(waiter) || dial.waiters.size > 0 || this.#dials.get(dial.key) !== dial) return;
    this.#dials.delete(dial.key);
    dial.giveUp();
  }

  #open(dial: Dial): void {
    const { wire, clock, table } = this.#init;
    const { peer, address, fresh } = dial.target;
    if (address !== undefined) {
      dial.giveUp = wire.dial({ address }, (outcome) => this.#ended(dial, outcome));
      return;
    }
    if (peer === undefined) return;
    const peerDial = new PeerDial({
      wire,
      clock,
      target: { peer, ...(fresh === undefined ? {} : { fresh }) },
      isSecuring: () => table.isSecuring(dial.target),
      isRefused: () => {
        const refusal = this.#ownRefusal(dial);
        // Another peer at one of its addresses says nothing about the peer, which others may know the way to.
        return refusal !== undefined && !(refusal instanceof PeerIdMismatch);
      },
      done: (outcome) => this.#ended(dial, outcome),
    });
    dial.giveUp = () => peerDial.giveUp();
  }

  #ownRefusal({ mark, target }: Dial): Refusal | undefined {
    return this.#init.table.refusalSince(mark, target);
  }

  #ended(dial: Dial, outcome: Outcome): void {
    // The wire may report a connection that its gate has closed since.
    if (Result.isSuccess(outcome) && this.#init.table.identityOf(outcome.success) !== undefined) {
      return this.#settle(dial, outcome);
    }
    const failure = Result.isFailure(outcome)
      ? outcome.failure
      : new HungUp({ detail: "the connection ended as soon as it was open" });
    this.#settle(dial, Result.fail(this.#ownRefusal(dial) ?? failure));
  }

  #settle(dial: Dial, outcome: Outcome): void {
    if (this.#dials.get(dial.key) === dial) this.#dials.delete(dial.key);
    const waiters = [...dial.waiters];
    dial.waiters.clear();
    for (const waiter of waiters) waiter(outcome);
  }

  #existing({ peer, address, to }: ParsedTarget): WireConnection | undefined {
    const { table } = this.#init;
    if (peer !== undefined) {
      const best = table.best(peer, to);
      const betterAsked = address !== undefined && best?.relay !== undefined && !isRelayed(address);
      return betterAsked ? undefined : best;
    }
    const wanted = withoutPeer(address ?? "");
    for (const connection of table.open()) if (withoutPeer(connection.address) === wanted) return connection;
    return undefined;
  }
}

/** Dials of one key are made once. A fresh one is for one member or role alone: where it does not fit it is closed. */
function keyOf({ peer, address, to, fresh }: ParsedTarget): string {
  const target = address ?? peer ?? "";
  return fresh === undefined || to === undefined ? target : [target, ...Object.values(to)].join(" ");
}

const isRelayed = (address: AddressText) => address.includes("/p2p-circuit");
const stopping = () => new HungUp({ detail: "this node stops" });

function parseTarget(target: DialTarget): Result.Result<ParsedTarget, Unreachable> {
  try {
    if ("peer" in target) return Result.succeed({ peer: peerIdFromString(target.peer).toString() });
    const address = multiaddr(target.address);
    const last = address.getComponents().at(-1);
    const peer = last?.name === "p2p" ? last.value : undefined;
    return Result.succeed({ address: address.toString(), ...(peer === undefined ? {} : { peer }) });
  } catch (error) {
    const detail = (error instanceof Error ? error.message : String(error)).slice(0, 200);
    return Result.fail(new Unreachable({ detail: `not something to dial: ${detail}` }));
  }
}
