/**
 * The connection table: the only place where a connection meets its gate. It admits, asks the gate at each step, knows which
 * peers are established, evaluates every gate again (`reverification.ts`), and closes what a gate does not allow.
 *
 * The identity belongs to the connection: two connections of one PeerID may have shown different certificates.
 *
 * @module
 */
import { Result } from "effect";
import { type Member, memberOf, standsFor } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { HungUp, type Refusal, TooManyConnections } from "../../pki/refusal.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { AddressText, AskTarget, CloseReason, Gate, GateEvent, NodeIdentity, PeerText } from "../port.ts";
import { Admission, type Admitted } from "./admission.ts";
import { type DialedTarget, DialRefusals, isFor } from "./dial_refusals.ts";
import type { ConnectionTableInit } from "./connection_table_init.ts";
import { Groups } from "./groups.ts";
import { Reverification } from "./reverification.ts";
import type { ConnectionEnd, ConnectionListener, WireConnection } from "./wire.ts";

/** A connection with its gate. */
export interface ConnectionRow {
  readonly connection: WireConnection;
  readonly gate: Gate;
  /** The generation of our own pair that the peer was shown. */
  readonly generation: number;
  /** Between `opened` and the end: only then the connection carries anything. */
  readonly established: boolean;
}

interface Row extends ConnectionRow {
  generation: number;
  established: boolean;
  /** Both are known once it was established, and outlive its gate. */
  identity: PeerIdentity | undefined;
  member: Member | undefined;
  readonly admitted: Admitted | undefined;
  readonly unlisten: () => void;
  evaluatedAt: number;
}

/** All connections of one transport, each with its gate. */
export class ConnectionTable implements ConnectionListener {
  readonly #init: ConnectionTableInit;
  readonly #admission: Admission;
  readonly #rows = new Map<WireConnection, Row>();
  /** The established ones, by PeerID and by member. */
  readonly #peers = new Groups<PeerText, Row>();
  readonly #members = new Groups<Member, Row>();
  readonly #dialRefusals = new DialRefusals();
  readonly #reverification: Reverification<Row>;
  #accepted = 0;

  /** Holds no connection yet. */
  constructor(init: ConnectionTableInit) {
    this.#init = init;
    this.#reverification = new Reverification(init, (row, snapshot) => this.#evaluate(row, snapshot));
    this.#admission = new Admission(init.limits);
  }

  // ── Verdicts ──

  turnsAway(address: AddressText): boolean {
    const refusal = this.#admission.refusalOf(address, this.#init.clock.monotonic());
    if (refusal === undefined) return false;
    this.#init.listener.turnedAway?.(address, refusal);
    return true;
  }

  opening(connection: WireConnection): boolean {
    const { makeGate, identity, handshakeTimeoutMs, uuid } = this.#init;
    const { direction, address, expectedPeer } = connection;
    const own = identity();
    const admission = this.#admit(connection);
    const admitted = Result.isSuccess(admission) ? admission.success : undefined;
    const gate = makeGate({
      id: uuid(),
      direction,
      address,
      expectedPeer,
      admission,
      snapshot: this.snapshot,
      own,
      deadlineMs: handshakeTimeoutMs,
    });
    const row: Row = {
      connection,
      gate,
      generation: own.generation,
      established: false,
      identity: undefined,
      member: undefined,
      admitted,
      unlisten: gate.listen((event) => this.#handle(row, event)),
      evaluatedAt: this.#reverification.changes,
    };
    this.#rows.set(connection, row);
    this.#reverification.add(row);
    admitted?.onEvicted((refusal) => gate.send({ type: "tls.failed", refusal }));
    if (gate.phase !== "refused") return true;
    // It refused before anyone listened.
    if (gate.refusal !== undefined) this.#handle(row, { type: "gate.refused", refusal: gate.refusal });
    return false;
  }

  securing(connection: WireConnection): NodeIdentity | undefined {
    const row = this.#rows.get(connection);
    if (row === undefined) return undefined;
    if (row.gate.phase === "admitting") row.gate.send({ type: "connection.securing" });
    if (phaseOf(row.gate) !== "securing") return undefined;
    const identity = this.#init.identity();
    row.generation = identity.generation;
    return identity;
  }

  secured(
    connection: WireConnection,
    { version, chain }: { readonly version: string; readonly chain: readonly Uint8Array[] },
  ): PeerIdentity | undefined {
    const gate = this.#rows.get(connection)?.gate;
    gate?.send({ type: "tls.secured", version, chain });
    return gate?.phase === "opening" ? gate.identity : undefined;
  }

  opened(connection: WireConnection): boolean {
    const row = this.#rows.get(connection);
    const identity = row?.gate.identity;
    if (row === undefined || identity === undefined || row.gate.phase !== "opening") return false;
    const max = this.#init.limits.connectionsPerPeerMax;
    const others = this.#peers.get(identity.peer);
    if (others !== undefined && others.length >= max) {
      const refusal = new TooManyConnections({ limit: "connections of one peer", max });
      row.gate.send({ type: "opening.failed", refusal });
      return false;
    }
    row.gate.send({ type: "connection.opened" });
    if (phaseOf(row.gate) !== "established") return false;
    row.established = true;
    row.admitted?.opened();
    this.#accepted += 1;
    row.identity = identity;
    row.member = memberOf(identity);
    const first = !this.#members.has(row.member);
    this.#peers.add(identity.peer, row);
    this.#members.add(row.member, row);
    this.#init.listener.established?.(connection, identity, first);
    return true;
  }

  // ── What happened to connections ──

  failed(connection: WireConnection, refusal: Refusal): void {
    const gate = this.#rows.get(connection)?.gate;
    if (gate?.phase === "opening") gate.send({ type: "opening.failed", refusal });
    else gate?.send({ type: "tls.failed", refusal });
  }

  broken(connection: WireConnection, detail: string): void {
    this.#rows.get(connection)?.gate.send({ type: "close", reason: detail });
  }

  ended(connection: WireConnection, { by, detail, refusal }: ConnectionEnd): void {
    const row = this.#rows.get(connection);
    if (row === undefined) return;
    const { gate } = row;
    if (gate.phase === "established") gate.send({ type: "connection.closed", by, detail });
    else this.failed(connection, refusal ?? new HungUp({ detail })); // a gate that has ended ignores it
    this.#rows.delete(connection);
    this.#reverification.remove(row);
    row.admitted?.release();
    row.unlisten();
    gate.stop();
  }

  // ── Questions ──

  /** Connections that were established since the start. */
  get accepted(): number {
    return this.#accepted;
  }

  /** Connections that are not established, or not any more. */
  get halfOpen(): number {
    return this.#rows.values().filter(({ established }) => !established).toArray().length;
  }

  /** Connections in every phase. */
  get size(): number {
    return this.#rows.size;
  }

  /** The trust that new gates are created with. */
  get snapshot(): TrustSnapshot {
    return this.#reverification.snapshot;
  }

  /** Every connection. */
  rows(): IterableIterator<ConnectionRow> {
    return this.#rows.values();
  }

  /** The members that are established, each with what its oldest connection proved. */
  list(): { readonly peer: PeerText; readonly identity: PeerIdentity }[] {
    return [...this.#members.values()].flatMap((rows) => {
      const [first] = rows;
      const identity = first?.gate.identity;
      return identity === undefined ? [] : [{ peer: identity.peer, identity }];
    });
  }

  /** The PeerIDs that are established. */
  peers(): IterableIterator<PeerText> {
    return this.#peers.keys();
  }

  /** What the certificate of this connection proved; undefined unless the connection is established. */
  identityOf(connection: WireConnection): PeerIdentity | undefined {
    const row = this.#rows.get(connection);
    return row?.established === true ? row.gate.identity : undefined;
  }

  /** What the certificates of a peer's established connections proved. */
  identitiesOf(peer: PeerText): readonly PeerIdentity[] {
    return (this.#peers.get(peer) ?? []).flatMap(({ gate }) => gate.identity ?? []);
  }

  /** The open connection to use: a direct one first, then the newest, because the end of a former one may not have come here. */
  best(peer: PeerText, to?: AskTarget): WireConnection | undefined {
    let best: WireConnection | undefined;
    for (const row of this.#peers.get(peer) ?? []) {
      const { connection } = row;
      if (!connection.isOpen || !isMeant(row, to)) continue;
      if (connection.relay === undefined || best?.relay !== undefined || best === undefined) best = connection;
    }
    return best;
  }

  /** Whether a connection is established and its certificate is one that an ask is meant for. */
  fits(connection: WireConnection, to: AskTarget | undefined): boolean {
    const row = this.#rows.get(connection);
    return row?.established === true && isMeant(row, to);
  }

  /** Open connections of all peers. */
  *open(): IterableIterator<WireConnection> {
    for (const rows of this.#peers.values()) {
      for (const { connection } of rows) if (connection.isOpen) yield connection;
    }
  }

  /** Open and closing connections of a peer. */
  *of(peer: PeerText): IterableIterator<WireConnection> {
    for (const { connection } of this.#peers.get(peer) ?? []) yield connection;
  }

  // ── Ends ──

  /** Ends all connections of a peer. */
  close(peer: PeerText, reason: string): void {
    for (const { gate } of [...this.#peers.get(peer) ?? []]) gate.send({ type: "close", reason });
  }

  /** Ends one connection. */
  closeOne(connection: WireConnection, reason: string): void {
    this.#rows.get(connection)?.gate.send({ type: "close", reason });
  }

  /** The connections by which a member is established. */
  connectionsOf(member: Member): readonly WireConnection[] {
    return (this.#members.get(member) ?? []).map(({ connection }) => connection);
  }

  /** Ends every connection, also those that are not established. */
  closeAll(reason: string): void {
    for (const { gate } of [...this.#rows.values()]) gate.send({ type: "close", reason });
  }

  /** Ends the connections that were made with pairs before this one. */
  closeBefore(generation: number, reason: string): void {
    for (const { gate, generation: shown } of [...this.#rows.values()]) {
      if (shown < generation) gate.send({ type: "close", reason });
    }
  }

  /**
   * Ends the established connections that are not busy.
   *
   * @returns How many are busy.
   */
  closeIdle(isBusy: (connection: WireConnection) => boolean, reason: string): number {
    let busy = 0;
    for (const { established, connection, gate } of [...this.#rows.values()]) {
      if (!established) continue;
      if (isBusy(connection)) busy += 1;
      else gate.send({ type: "close", reason });
    }
    return busy;
  }

  /** New trust: for new gates at once, for all others in slices, each gate in its turn. */
  trustChanged(snapshot: TrustSnapshot): void {
    this.#reverification.trustChanged(snapshot);
  }

  // ── Dials ──

  /** Marks a point in time: refusals of own dials from here on are found by {@linkcode refusalSince}. */
  mark(): number {
    return this.#dialRefusals.mark();
  }

  /** Why a dial to this peer or address was refused since `mark`, as far as a gate refused it. */
  refusalSince(mark: number, target: DialedTarget): Refusal | undefined {
    return this.#dialRefusals.since(mark, target);
  }

  /** Whether a handshake with this peer or address is under way. */
  isSecuring(target: DialedTarget): boolean {
    for (const { connection, established } of this.#rows.values()) {
      if (!established && connection.direction === "outbound" && isFor(connection, target)) return true;
    }
    return false;
  }

  /** A member is of one trust domain: a connection that another domain vouches for now is made anew. */
  #evaluate({ gate, established, member }: Row, snapshot: TrustSnapshot): void {
    const before = gate.identity;
    gate.send({ type: "trust.changed", snapshot });
    const { identity } = gate;
    if (!established || identity === undefined || identity === before || memberOf(identity) === member) return;
    gate.send({ type: "close", reason: "another trust domain vouches for it now" });
  }

  #admit({ direction, address }: WireConnection): Result.Result<Admitted | undefined, Refusal> {
    if (direction === "outbound") return Result.succeed(undefined);
    return this.#admission.admit(address, this.#init.clock.monotonic());
  }

  /** Whatever a listener throws, a connection whose gate ended leaves the table and is closed. */
  #handle(row: Row, event: GateEvent): void {
    try {
      this.#init.listener.gate?.(row.connection, event);
    } finally {
      this.#act(row, event);
    }
  }

  #act(row: Row, event: GateEvent): void {
    if (event.type !== "gate.refused" && event.type !== "gate.closed") return;
    // A gate whose actor fails refuses, whatever it let in before.
    const reason: CloseReason = event.type === "gate.closed"
      ? event.reason
      : { type: "trust.changed", refusal: event.refusal };
    const how = reason.type === "by-us" ? "gently" : "now";
    const detail = reason.type === "by-us" ? reason.detail : "the gate refused it";
    try {
      this.#closed(row, reason);
    } finally {
      // After this call: the sender of the event that ended the gate reads its phase first, and closing may answer back.
      this.#init.clock.soon(() => row.connection.close(how, detail));
    }
  }

  #closed(row: Row, reason: CloseReason): void {
    const { identity } = row;
    if (!row.established || identity === undefined) {
      // Before it was established: a refusal, unless this node or the peer closed it.
      if ("refusal" in reason) this.#refused(row, reason.refusal);
      return;
    }
    row.established = false;
    this.#peers.remove(identity.peer, row);
    const last = row.member === undefined || this.#members.remove(row.member, row);
    const proven = row.evaluatedAt === this.#reverification.changes ? row.gate.identity : undefined;
    this.#init.listener.left?.(row.connection, identity, reason, last, proven);
  }

  #refused({ connection, gate }: Row, refusal: Refusal): void {
    if (connection.direction === "outbound") this.#dialRefusals.add(connection, refusal, gate.presented);
    this.#init.listener.refused?.(connection, gate, refusal);
  }
}

function isMeant({ identity, member }: Row, to: AskTarget | undefined): boolean {
  if (to === undefined) return true;
  if ("member" in to) return member === to.member;
  return identity !== undefined && to.roles.some((role) => standsFor(identity.role, role));
}

/** Sending to a gate changes its phase, which the type checker does not know. */
function phaseOf(gate: Gate): Gate["phase"] {
  return gate.phase;
}
