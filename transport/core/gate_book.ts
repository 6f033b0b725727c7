/**
 * Which gate stands before which connection. Raw connection, gate and libp2p `Connection` are joined by the `timeline`
 * object that all of them share.
 *
 * @module
 */
import { Socket } from "node:net";
import { setImmediate } from "node:timers";
import type { AbortOptions, Connection, MessageStream, MultiaddrConnection } from "@libp2p/interface";
import type { Result } from "effect";
import { HungUp, ProtocolMismatch, type Refusal } from "../../pki/refusal.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import { closableOf } from "../libp2p/connection_internals.ts";
import { limitNegotiation } from "../libp2p/negotiation_limit.ts";
import type { AddressText, Gate, GateSaid, MakeGate, NodeIdentity, PeerText } from "../port.ts";
import type { SocketEnd } from "../libp2p/secured_stream.ts";

/** How long a connection that we close has to send what it still holds, in milliseconds. */
export const closeGraceMs = 500;
/**
 * Gates that are re-checked before other events get their turn; one costs 20–200 µs. A slice ends early with a gate that
 * closes: ending a connection costs libp2p some milliseconds.
 */
const reverifySlice = 16;

/** A raw connection with its gate. */
export interface Gated {
  /** Decides about the connection. */
  readonly gate: Gate;
  /** Who dialled. */
  readonly direction: "inbound" | "outbound";
  /** The other end, as a multiaddr. */
  readonly address: AddressText;
  /** The PeerID that was dialled, where one was named. */
  readonly expectedPeer: PeerText | undefined;
  /** libp2p's raw connection. */
  readonly raw: MessageStream;
  /** The generation of our own pair that the peer was shown. */
  generation: number;
  /** What runs over the raw connection once the handshake is done: it holds what has not left yet. */
  secured: { close(options?: AbortOptions): Promise<void>; readonly shutDown: boolean } | undefined;
  /** libp2p's connection, from `connection:open` on. */
  connection: Connection | undefined;
  /** Tells admission that the connection is established. */
  readonly opened: () => void;
  /** The error with which libp2p gave the connection up, where it was libp2p. */
  failure: Error | undefined;
  /** Who ended the connection, as soon as somebody knows. */
  end: { readonly by: "us" | SocketEnd; readonly detail: string } | undefined;
}

/** What the book is made with. */
export interface GateBookInit {
  /** Makes the gate of each connection. */
  readonly makeGate: MakeGate;
  /** What is trusted now. */
  readonly snapshot: () => TrustSnapshot;
  /** The pair that new handshakes use. */
  readonly identity: () => NodeIdentity;
  /** From a gate's birth to its verdict, in milliseconds. */
  readonly deadlineMs: number;
  /** Makes identifiers of gates. */
  readonly uuid: () => string;
  /** Counts an attempt in, or refuses it; `release` counts it out again. Outbound connections are never refused. */
  readonly admit: (attempt: {
    readonly direction: "inbound" | "outbound";
    readonly address: AddressText;
  }) => {
    readonly admission: Result.Result<unknown, Refusal>;
    readonly opened: () => void;
    readonly release: () => void;
    /** Says what is to happen when the attempt has to make room for another's. */
    readonly onEvicted?: (listener: (refusal: Refusal) => void) => void;
  };
  /** Everything a gate says, in order; also what it said at its birth. */
  readonly onSaid: (gated: Gated, said: GateSaid) => void;
  /** The raw connection ended; its gate is stopped after this call. */
  readonly onEnded?: (gated: Gated) => void;
}

/**
 * The error a refused connection is aborted with. libp2p keeps its message only, so that carries the gate's id. It has no
 * stack: one costs more than the rest of an early refusal's record.
 */
export class GateClosedError extends Error {
  /** The error's name. */
  override readonly name = "GateClosedError";
  /** Identifier of the gate. */
  readonly gate: string;
  /** Carries the identifier of the gate that refused. */
  constructor(gate: string) {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(`connection refused [gate ${gate}]`);
    Error.stackTraceLimit = stackTraceLimit;
    this.gate = gate;
  }
}

/** The gates of all connections of one transport. */
export class GateBook {
  readonly #init: GateBookInit;
  readonly #gated = new Map<object, Gated>();

  /** Holds no gate yet. */
  constructor(init: GateBookInit) {
    this.#init = init;
  }

  /** How many gates there are. */
  get size(): number {
    return this.#gated.size;
  }

  /** Every connection with its gate. */
  all(): IterableIterator<Gated> {
    return this.#gated.values();
  }

  /** The gate of a raw or opened connection. */
  of(connection: { readonly timeline: object }): Gated | undefined {
    return this.#gated.get(connection.timeline);
  }

  /**
   * Gives a raw connection its gate. The gate lives until the raw connection closes, and closes it when it refuses.
   *
   * @param raw The connection, before anything was read of it.
   * @param direction Who dialled.
   * @param expectedPeer The PeerID that was dialled, where one was named.
   * @throws {MovedInternal} where libp2p's connections are others than those this was written for.
   */
  birth(raw: MessageStream, direction: "inbound" | "outbound", expectedPeer: PeerText | undefined): Gated {
    const { makeGate, snapshot, identity, deadlineMs, uuid, admit } = this.#init;
    closableOf(raw); // before there is a gate that nothing would stop
    const own = identity();
    const address = (raw as Partial<MultiaddrConnection>).remoteAddr?.toString() ?? "";
    const { admission, opened, release, onEvicted } = admit({ direction, address });
    const gate = makeGate({
      id: uuid(),
      direction,
      address,
      expectedPeer,
      admission,
      snapshot: snapshot(),
      own,
      deadlineMs,
    });
    const gated: Gated = {
      gate,
      direction,
      address,
      expectedPeer,
      raw,
      generation: own.generation,
      opened,
      secured: undefined,
      connection: undefined,
      failure: undefined,
      end: undefined,
    };
    this.#gated.set(raw.timeline, gated);
    const unlisten = gate.listen((said) => this.#said(gated, said));
    onEvicted?.((refusal) => gate.send({ type: "tls.failed", refusal }));
    noteWhoEnds(gated);
    closeFromAbove(gated);
    if (direction === "inbound") {
      const isOver = () => gate.phase !== "admitting" && gate.phase !== "securing";
      limitNegotiation(
        raw,
        isOver,
        (detail) => gate.send({ type: "tls.failed", refusal: new ProtocolMismatch({ detail }) }),
      );
    }
    raw.addEventListener("close", () => this.#ended(gated, { release, unlisten }), { once: true });
    if (gate.phase === "refused" && gate.refusal !== undefined) {
      this.#said(gated, { type: "gate.refused", refusal: gate.refusal });
    }
    return gated;
  }

  /** Sends every gate through its checks again, in slices; a newer snapshot starts over. */
  reverify(snapshot: TrustSnapshot): void {
    const pass = this.#gated.values();
    const slice = () => {
      if (this.#init.snapshot() !== snapshot) return;
      for (let done = 0; done < reverifySlice; done++) {
        const next = pass.next();
        if (next.done === true) return;
        const { gate } = next.value;
        gate.send({ type: "trust.changed", snapshot });
        if (gate.phase === "closed" || gate.phase === "refused") break;
      }
      setImmediate(slice);
    };
    slice();
  }

  #said(gated: Gated, said: GateSaid): void {
    this.#init.onSaid(gated, said);
    if (said.type !== "gate.refused" && said.type !== "gate.closed") return;
    const ownWish = said.type === "gate.closed" && said.reason.type === "by-us";
    // After this turn: whoever sent the event that ended the gate reads its phase first, and closing may answer back.
    queueMicrotask(() => ownWish ? this.#closeGently(gated) : this.close(gated));
  }

  /** Closes a connection whose gate does not stand open, at once. */
  close(gated: Gated): void {
    const error = new GateClosedError(gated.gate.id);
    gated.connection?.abort(error);
    gated.raw.abort(error);
  }

  /** Closes a connection that nobody is refused on: what is on its way still leaves, within the grace. */
  #closeGently(gated: Gated): void {
    if (gated.connection === undefined) return this.close(gated);
    const signal = AbortSignal.timeout(closeGraceMs);
    gated.connection.close({ signal }).then(() => this.close(gated), () => this.close(gated));
  }

  #ended(gated: Gated, held: { release: () => void; unlisten: () => void }): void {
    const { gate, end = { by: "them", detail: "the connection ended" } as const } = gated;
    if (gate.phase === "established") gate.send({ type: "connection.closed", ...end });
    else if (gate.phase === "opening") {
      gate.send({ type: "opening.failed", refusal: refusalOfUpgradeEnd(gated.failure, end) });
    } else if (gate.phase !== "refused" && gate.phase !== "closed") {
      gate.send({ type: "tls.failed", refusal: refusalOfUpgradeEnd(gated.failure, end) });
    }
    this.#gated.delete(gated.raw.timeline);
    held.release();
    held.unlisten();
    this.#init.onEnded?.(gated);
    gate.stop();
  }
}

/** libp2p says `local` at both ends of a connection that ended: what happened first is noted here. */
function noteWhoEnds(gated: Gated): void {
  const { raw } = gated;
  const them = () => {
    gated.end ??= { by: "them", detail: "the peer ended the connection" };
  };
  const close = raw.close.bind(raw);
  raw.close = (options) => {
    gated.end ??= { by: "us", detail: "closed" };
    return close(options);
  };
  const abort = raw.abort.bind(raw);
  raw.abort = (error) => {
    gated.failure ??= error;
    gated.end ??= { by: "us", detail: error.message };
    abort(error);
  };
  raw.addEventListener("remoteCloseWrite", them);
  const socket = socketOf(raw);
  socket?.prependListener("end", them);
  socket?.prependListener("error", (error: Error) => {
    gated.end ??= { by: "lost", detail: error.message };
  });
}

/**
 * libp2p ends the raw connection only, whose socket knows nothing of what TLS does over it. A close would lose what TLS
 * has still to write, so the secured stream ends first. A reset fails, and leaves the descriptor open, once TLS has
 * begun to shut the socket down (libuv's `uv_tcp_close_reset`), so it is destroyed then.
 */
function closeFromAbove(gated: Gated): void {
  const raw = closableOf(gated.raw);
  const sendClose = raw.sendClose.bind(raw);
  const sendReset = raw.sendReset.bind(raw);
  raw.sendClose = async (options) => {
    const signal = options?.signal ?? AbortSignal.timeout(closeGraceMs); // a peer that never ends holds nobody up
    await gated.secured?.close({ signal }).catch(() => {}); // not in time, or broken: the raw connection ends either way
    await sendClose(options);
  };
  const socket = socketOf(gated.raw);
  if (socket === undefined) return;
  raw.sendReset = (error) => gated.secured?.shutDown ? void socket.destroy() : sendReset(error);
}

/** The socket under a raw connection; a relayed one has none. */
export function socketOf(raw: MessageStream): Socket | undefined {
  const { socket } = raw as { socket?: unknown };
  return socket instanceof Socket ? socket : undefined;
}

/** Names what it amounts to when a connection ended before it was open and neither TLS nor the gate had said why. */
function refusalOfUpgradeEnd(failure: Error | undefined, end: NonNullable<Gated["end"]>): Refusal {
  if (end.by !== "us" || failure === undefined) return new HungUp({ detail: end.detail });
  const detail = failure.message.slice(0, 200);
  switch (failure.name) {
    case "InvalidMessageError":
    case "InvalidDataLengthError":
    case "InvalidDataLengthLengthError":
    case "UnsupportedProtocolError":
      return new ProtocolMismatch({ detail });
    default:
      // libp2p wraps what the negotiation threw and keeps its words only.
      if (/newline|data length|protocol selection failed/i.test(detail)) return new ProtocolMismatch({ detail });
      return new HungUp({ detail });
  }
}
