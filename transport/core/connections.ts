/**
 * Who is connected: joins libp2p's connections with their gates, says when a peer comes and goes, and sends every gate
 * through its checks again when the trust changed.
 *
 * @module
 */
import type { Connection, ConnectionGater, ConnectionProtector, MultiaddrConnection } from "@libp2p/interface";
import { Result } from "effect";
import type { PeerIdentity } from "../../pki/path.ts";
import { type Refusal, TooManyConnections } from "../../pki/refusal.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { AddressRules } from "./address_filter.ts";
import { Admission, type Admitted } from "./admission.ts";
import { GateBook, type Gated, socketOf } from "./gate_book.ts";
import type { Outbox } from "./outbox.ts";
import type { AddressText, CloseReason, GateSaid, NodeIdentity, PeerText, TransportInput } from "../port.ts";
import { watchPreamble } from "../libp2p/preamble.ts";

/** Refusals of own dials that are remembered, to answer whoever asked for the dial. */
const dialRefusalsMax = 256;

interface PeerEntry {
  readonly identity: PeerIdentity;
  readonly gated: Set<Gated>;
}

/** A refusal of a connection that we dialled. */
interface DialRefusal {
  readonly sequence: number;
  readonly address: AddressText;
  readonly expectedPeer: PeerText | undefined;
  readonly refusal: Refusal;
}

/** The connections of one transport. */
export class Connections {
  readonly book: GateBook;
  readonly #input: TransportInput;
  readonly #outbox: Outbox;
  readonly #admission: Admission;
  readonly #peers = new Map<PeerText, PeerEntry>();
  readonly #dialRefusals: DialRefusal[] = [];
  #snapshot: TrustSnapshot;
  #identity: NodeIdentity;
  #sequence = 0;
  #accepted = 0;
  #onOpened: (connection: Connection, identity: PeerIdentity) => void = () => {};

  constructor(input: TransportInput, outbox: Outbox) {
    this.#input = input;
    this.#outbox = outbox;
    this.#snapshot = input.snapshot;
    this.#identity = input.identity;
    this.#admission = new Admission(input.limits);
    this.book = new GateBook({
      makeGate: input.makeGate,
      snapshot: () => this.#snapshot,
      identity: () => this.#identity,
      deadlineMs: input.handshakeTimeoutMs,
      uuid: input.uuid,
      admit: ({ direction, address }) => this.#admit(direction, address),
      onSaid: (gated, said) => this.#said(gated, said),
    });
  }

  /** Connections that were established since the start. */
  get accepted(): number {
    return this.#accepted;
  }

  /** The trust that new gates are born with. */
  get snapshot(): TrustSnapshot {
    return this.#snapshot;
  }

  /** The pair that new handshakes use. */
  get identity(): NodeIdentity {
    return this.#identity;
  }

  /** New handshakes use another certificate of the same key. */
  identityChanged(identity: NodeIdentity): void {
    this.#identity = identity;
  }

  /** Ends the connections that were made with pairs before this one. */
  closeBefore(generation: number, reason: string): void {
    for (const gated of [...this.book.all()]) {
      if (gated.generation < generation) gated.gate.send({ type: "close", reason });
    }
  }

  /**
   * Ends the established connections on which nothing is under way.
   *
   * @returns How many are left.
   */
  closeIdle(isBusy: (connection: Connection) => boolean, reason: string): number {
    let busy = 0;
    for (const { gated } of [...this.#peers.values()]) {
      for (const { gate, connection } of [...gated]) {
        if (connection !== undefined && isBusy(connection)) busy += 1;
        else gate.send({ type: "close", reason });
      }
    }
    return busy;
  }

  /** Called with each connection that is established, before anybody else hears of it. */
  onOpened(listener: (connection: Connection, identity: PeerIdentity) => void): void {
    this.#onOpened = listener;
  }

  /** libp2p's connection gater. An inbound connection's gate is born here, before a byte was read. */
  gater({ mayDial, mayKnow }: AddressRules): ConnectionGater {
    return {
      denyDialMultiaddr: (address) => !mayDial(address),
      filterMultiaddrForPeer: (peer, address) => Promise.resolve(mayKnow(peer.toString(), address)),
      denyInboundConnection: (raw: MultiaddrConnection) => {
        const gated = this.book.birth(raw, "inbound", undefined);
        watchBeginning(gated);
        return gated.gate.phase === "refused";
      },
    };
  }

  /** Whether an inbound attempt is over a limit; then it is told, and gets no gate. */
  turnsAway(address: AddressText): boolean {
    const refusal = this.#admission.refusalOf(address, this.#input.now());
    if (refusal === undefined) return false;
    this.#outbox.tell({ type: "peer.refused", address, direction: "inbound", peer: undefined, refusal });
    return true;
  }

  /** libp2p's connection protector, which sees a dialled connection before its first byte: its gate is born here. */
  protector(): ConnectionProtector {
    return {
      protect: (stream) => {
        const raw = stream as MultiaddrConnection;
        if (raw.direction === "outbound" && this.book.of(raw) === undefined) {
          const named = raw.remoteAddr.getComponents().at(-1);
          watchBeginning(this.book.birth(raw, "outbound", named?.name === "p2p" ? named.value : undefined));
        }
        return Promise.resolve(stream);
      },
    };
  }

  /** libp2p announced a connection: the only way to be established. */
  opened(connection: Connection): void {
    const gated = this.book.of(connection);
    const { identity } = gated?.gate ?? {};
    if (gated === undefined || identity === undefined || identity.peer !== connection.remotePeer.toString()) {
      connection.abort(new Error("an opened connection without a gate"));
      return;
    }
    gated.connection = connection;
    const max = this.#input.limits.connectionsPerPeerMax;
    if ((this.#peers.get(identity.peer)?.gated.size ?? 0) >= max) {
      const refusal = new TooManyConnections({ limit: "connections of one peer", max });
      gated.gate.send({ type: "opening.failed", refusal });
      return;
    }
    gated.gate.send({ type: "connection.opened" });
    if (gated.gate.phase !== "established") {
      this.book.close(gated);
      return;
    }
    gated.opened();
    this.#accepted += 1;
    const known = this.#peers.get(identity.peer);
    if (known === undefined) {
      this.#peers.set(identity.peer, { identity, gated: new Set([gated]) });
      this.#outbox.tell({ type: "peer.established", peer: identity.peer, identity });
    } else known.gated.add(gated);
    this.#onOpened(connection, identity);
  }

  /** Everyone who is established now. */
  list(): { readonly peer: PeerText; readonly identity: PeerIdentity }[] {
    return [...this.#peers].map(([peer, { identity }]) => ({ peer, identity }));
  }

  /** What the peer's certificate proved; undefined when it is not established. */
  identityOf(peer: PeerText): PeerIdentity | undefined {
    return this.#peers.get(peer)?.identity;
  }

  /** The connection to use for a peer: open, a direct one before a relayed one. */
  best(peer: PeerText): Connection | undefined {
    let best: Connection | undefined;
    for (const { connection } of this.#peers.get(peer)?.gated ?? []) {
      if (connection?.status !== "open") continue;
      if (best === undefined || (connection.direct && !best.direct)) best = connection;
    }
    return best;
  }

  /** Open connections of all peers. */
  *open(): IterableIterator<Connection> {
    for (const { gated } of this.#peers.values()) {
      for (const { connection } of gated) if (connection?.status === "open") yield connection;
    }
  }

  /** The configured gateways that are connected. */
  gateways(): PeerText[] {
    const { gatewayAddresses } = this.#input;
    const connected = [...this.open()].filter((connection) => leadsToGateway(connection, gatewayAddresses));
    return connected.map(({ remotePeer }) => remotePeer.toString());
  }

  /** Whether a peer is a configured gateway that is connected; of a gateway, whether it is this node itself. */
  isGateway(peer: PeerText): boolean {
    if (this.#input.role === "gateway") return peer === this.#input.identity.peer;
    return [...this.#peers.get(peer)?.gated ?? []].some(({ connection }) =>
      connection !== undefined && leadsToGateway(connection, this.#input.gatewayAddresses)
    );
  }

  /** Ends all connections of a peer; `peer.closed` follows. */
  close(peer: PeerText, reason: string): void {
    for (const { gate } of [...this.#peers.get(peer)?.gated ?? []]) gate.send({ type: "close", reason });
  }

  /** Ends every connection, also those that are not established. */
  closeAll(reason: string): void {
    for (const { gate } of [...this.book.all()]) gate.send({ type: "close", reason });
  }

  /** New trust: for new gates at once, for all others in slices; a newer snapshot starts over. */
  trustChanged(snapshot: TrustSnapshot): void {
    this.#snapshot = snapshot;
    this.book.reverify(snapshot);
  }

  /** Marks a point in time: refusals of own dials from here on are found by {@linkcode refusalSince}. */
  mark(): number {
    return this.#sequence;
  }

  /** Why a dial to this peer or address was refused since `mark`, as far as a gate said so. */
  refusalSince(
    mark: number,
    target: { readonly peer?: PeerText; readonly address?: AddressText },
  ): Refusal | undefined {
    return this.#dialRefusals.findLast(({ sequence, address, expectedPeer }) =>
      sequence >= mark &&
      ((target.peer !== undefined && target.peer === expectedPeer) ||
        (target.address !== undefined && withoutPeer(target.address) === withoutPeer(address)))
    )?.refusal;
  }

  #admit(direction: "inbound" | "outbound", address: AddressText) {
    const none = { opened: () => {}, release: () => {} };
    if (direction === "outbound") return { admission: Result.succeed(undefined), ...none };
    const admission: Result.Result<Admitted, Refusal> = this.#admission.admit(address, this.#input.now());
    return { admission, ...(Result.isSuccess(admission) ? admission.success : none) };
  }

  #said(gated: Gated, said: GateSaid): void {
    if (said.type === "gate.refused") return this.#refused(gated, said.refusal);
    if (said.type !== "gate.closed") return;
    const { identity } = gated.gate;
    const entry = identity === undefined ? undefined : this.#peers.get(identity.peer);
    if (identity === undefined || entry?.gated.delete(gated) !== true) {
      // Closed before it was established: a refusal where trust changed in between.
      if ("refusal" in said.reason) this.#refused(gated, said.reason.refusal);
      return;
    }
    if (entry.gated.size === 0) this.#left(identity, said.reason);
  }

  #refused(gated: Gated, refusal: Refusal): void {
    const { direction, address, expectedPeer, gate: { identity, presented } } = gated;
    if (direction === "outbound") {
      this.#dialRefusals.push({ sequence: this.#sequence++, address, expectedPeer, refusal });
      if (this.#dialRefusals.length > dialRefusalsMax) this.#dialRefusals.shift();
    }
    const peer = identity === undefined ? presented : { name: identity.name, id: identity.peer };
    this.#outbox.tell({ type: "peer.refused", address, direction, peer, refusal });
  }

  #left(identity: PeerIdentity, reason: CloseReason): void {
    this.#peers.delete(identity.peer);
    this.#outbox.tell({ type: "peer.closed", peer: identity.peer, identity, reason });
  }
}

/** Tells the gate at once when what arrives is not libp2p; the negotiation would wait for more of it. */
function watchBeginning({ gate, raw }: Gated): void {
  const socket = socketOf(raw);
  if (socket === undefined || gate.phase === "refused") return;
  watchPreamble(socket, (refusal) => gate.send({ type: "tls.failed", refusal }));
}

/** An address without the PeerID at its end, to compare what was dialled with what was meant. */
export function withoutPeer(address: AddressText): AddressText {
  return address.includes("/p2p-circuit") ? address : address.replace(/\/p2p\/[^/]+$/, "");
}

/** An address with the peer's PeerID at its end. A relayed one names the relay before: that is not the peer. */
export function namingPeer(address: AddressText, peer: PeerText): AddressText {
  return `${address.replace(/\/p2p\/[^/]+$/, "")}/p2p/${peer}`;
}

/** Whether a connection leads straight to one of these addresses, which may name the peer or not. */
export function leadsToGateway(
  { direct, remoteAddr }: Pick<Connection, "direct" | "remoteAddr">,
  gatewayAddresses: readonly AddressText[],
): boolean {
  if (!direct) return false;
  const address = withoutPeer(remoteAddr.toString());
  return gatewayAddresses.some((gateway) => withoutPeer(gateway) === address);
}
