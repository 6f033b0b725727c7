/**
 * A peer that keeps to no rule of the core: a wire whose listener accepts everything, and opens streams and sends bytes by
 * hand. It runs over every wire.
 *
 * @module
 */
import { Result } from "effect";
import { checkIdentity } from "../../pki/checks/identity.ts";
import { checkWellFormed } from "../../pki/checks/well_formed.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { Refusal } from "../../pki/refusal.ts";
import type {
  GossipMessage,
  StreamEnd,
  StreamListener,
  Wire,
  WireConnection,
  WireListener,
  WireStream,
} from "../../transport/core/wire.ts";
import type { AddressText, NodeIdentity } from "../../transport/port.ts";

/** Bytes of an answer that are kept; more of them are counted only. */
const answerBytesMax = 1_048_576;

/** What came back on a stream. */
export interface HostileAnswer {
  readonly protocol: string;
  readonly bytes: Uint8Array;
  /** The other side ended its writing side. */
  readonly ended: boolean;
  readonly how: StreamEnd;
}

/** A hostile peer. */
export class HostilePeer implements WireListener {
  readonly wire: Wire;
  /** The pair that it shows on the connections that begin now. */
  identity: NodeIdentity;
  /** Its connections, from their beginning to their end. */
  readonly connections = new Set<WireConnection>();
  /** A connection is open: this peer was let in, as far as it can see. */
  onOpened: (connection: WireConnection) => void = () => {};
  /** Reads a stream that the other side opened; undefined: such a stream is refused. */
  onOffered: (connection: WireConnection, stream: WireStream) => StreamListener | undefined = () => undefined;
  /** A connection is over. */
  onEnded: (connection: WireConnection) => void = () => {};

  constructor(wire: Wire, identity: NodeIdentity) {
    this.wire = wire;
    this.identity = identity;
  }

  /** Opens a connection. */
  dial(address: AddressText, done: (outcome: Result.Result<WireConnection, Refusal>) => void = () => {}): void {
    this.wire.dial({ address }, done);
  }

  /** Opens a stream that is not read beyond a bound; `done` is called at its end. */
  open(
    connection: WireConnection,
    protocol: string,
    done: (answer: HostileAnswer) => void = () => {},
  ): WireStream {
    const chunks: Uint8Array[] = [];
    let size = 0;
    let ended = false;
    const listener: StreamListener = {
      data: (bytes) => {
        size += bytes.length;
        if (size <= answerBytesMax) chunks.push(bytes);
      },
      ended: () => {
        ended = true;
      },
      closed: (how) => done({ protocol, bytes: joined(chunks), ended, how }),
    };
    return connection.openStream(protocol, listener);
  }

  /** Sends bytes on a stream of their own, and ends it. */
  exchange(
    connection: WireConnection,
    protocol: string,
    bytes: Uint8Array,
    done: (answer: HostileAnswer) => void = () => {},
  ): void {
    this.open(connection, protocol, done).end(bytes);
  }

  /** Ends all connections. */
  leave(): void {
    for (const connection of [...this.connections]) connection.close("now", "it left");
  }

  // ── Verdicts: yes to everything ──

  turnsAway(): boolean {
    return false;
  }
  opening(connection: WireConnection): boolean {
    this.connections.add(connection);
    return true;
  }
  securing(): NodeIdentity {
    return this.identity;
  }
  secured(
    _connection: WireConnection,
    { chain }: { readonly chain: readonly Uint8Array[] },
  ): PeerIdentity | undefined {
    const identity = Result.flatMap(checkWellFormed(chain), (wellFormed) => checkIdentity(wellFormed));
    return Result.isSuccess(identity) ? identity.success : undefined;
  }
  opened(connection: WireConnection): boolean {
    this.onOpened(connection);
    return true;
  }
  stream(connection: WireConnection, stream: WireStream): StreamListener {
    return this.onOffered(connection, stream) ?? { data: () => {}, ended: () => {}, closed: () => {} };
  }
  charge(): number {
    return 0;
  }
  refund(): void {}
  inTurn(_peer: string, _owner: object, _us: number, task: () => void): void {
    task();
  }
  giveUp(): void {}
  permits(): boolean {
    return true;
  }
  mayDial(): boolean {
    return true;
  }
  isConfigured(): boolean {
    return false;
  }
  mayServeDht(): boolean {
    return true;
  }
  mayKnow(): boolean {
    return true;
  }
  announced(own: readonly AddressText[]): readonly AddressText[] {
    return own;
  }

  // ── Reports ──

  failed(connection: WireConnection): void {
    connection.close("now", "it failed");
  }
  broken(connection: WireConnection): void {
    connection.close("now", "it is broken");
  }
  ended(connection: WireConnection): void {
    this.connections.delete(connection);
    this.onEnded(connection);
  }
  gossip({ settle }: GossipMessage): void {
    settle("accept");
  }
  addresses(): void {}
  reservationLost(): void {}
  dhtReady(): void {}
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((size, chunk) => size + chunk.length, 0));
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
