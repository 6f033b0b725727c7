/**
 * What the parts of a session use of each other.
 *
 * @module
 */
import type { Result } from "effect";
import type { PeerIdentity } from "../../pki/path.ts";
import type { NotAuthorized } from "../../pki/refusal.ts";
import type { Act } from "../authorization/acts.ts";
import type { AskTarget, PeerText, TransportError } from "../port.ts";
import type { Clock } from "./clock.ts";
import type { ReadBudgets } from "./held_bytes.ts";
import type { Outbox } from "./outbox.ts";
import type { RequestTraces } from "./request_traces.ts";
import type { GiveUp, StreamListener, Wire, WireConnection, WireStream } from "./wire.ts";
import type { WorkBudgets } from "./work_budget.ts";

/** What a transport holds open, by kind. */
export interface OpenCounts {
  /** Requests of both sides that were not answered, and operations on records. */
  readonly exchanges: number;
  /** Streams that are offered, opening or open. */
  readonly streams: number;
  readonly dials: number;
  /** Authors and publishers that are being verified. */
  readonly verifications: number;
  /** Connections that are not established, or not any more. */
  readonly halfOpen: number;
}

/** Queries on established connections (`connection_table.ts`). */
export interface Established {
  /** What the certificate of this connection proved; undefined unless the connection is established. */
  identityOf(connection: WireConnection): PeerIdentity | undefined;
  /** What the certificates of a peer's established connections proved. */
  identitiesOf(peer: PeerText): readonly PeerIdentity[];
  /** Whether a peer's last connection ended a short while ago, and not because trust changed. */
  leftLately(peer: PeerText): boolean;
  /** The connection to use for a peer: open, a direct one before a relayed one. */
  best(peer: PeerText, to?: AskTarget): WireConnection | undefined;
  /** The configured gateways that are connected. */
  gateways(): readonly PeerText[];
  /** Whether every certificate of the own domain must name a role. */
  readonly areRolesRequired: boolean;
}

/** Opens streams (`stream_places.ts`): counts those of each peer. */
export interface OpensStreams {
  /** As {@linkcode WireConnection.openStream}; over the limit the listener gets `closed("too-many")` later. */
  open(connection: WireConnection, protocol: string, listener: StreamListener, fallback?: string): WireStream;
}

/** Dials for asks (`dialing.ts`). */
export interface Connects {
  /**
   * A connection to a peer: the best that there is, or a dialled one. Equal dials are shared; the dial goes on for the others
   * when one gives up. `done` is called later, never inside this call.
   *
   * @param to Whom of the peer's members it is for: the connection's certificate fits, or it fails with `not-authorized`.
   */
  connect(
    peer: PeerText,
    timeoutMs: number,
    done: (outcome: Result.Result<WireConnection, TransportError>) => void,
    to?: AskTarget,
  ): GiveUp;
}

/** Verifies authors and publishers (`verified_peers.ts`). */
export interface Verifies {
  /** The identities of a peer that count, as far as is known without a dial. */
  known(peer: PeerText): readonly PeerIdentity[];
  /**
   * The identities of a peer that count: of its established connections, and of those that were a short while ago under the
   * same trust; a stranger is dialled, which sends it through the gate. `then` is called once, at once where the answer is
   * known; without an identity the peer does not count.
   */
  verify(peer: PeerText, then: (identities: readonly PeerIdentity[]) => void): void;
}

/** Judges acts of peers (`authorization.ts`). */
export interface Authorizes {
  /** Why a member may not do an act; undefined: it may. Reports nothing. */
  refusalOf(act: Act, identity: PeerIdentity): NotAuthorized | undefined;
  /** Whether a member may do an act. A refusal is reported. */
  allows(act: Act, identity: PeerIdentity): boolean;
  /** The first of a peer's identities that may do an act. Where none may, a refusal is reported. */
  allowedOf(act: Act, identities: readonly PeerIdentity[]): PeerIdentity | undefined;
}

/** What the parts of a session share. */
export interface SessionParts {
  /** This node. */
  readonly self: PeerText;
  readonly wire: Wire;
  readonly clock: Clock;
  readonly established: Established;
  readonly streams: OpensStreams;
  readonly dialler: Connects;
  readonly verified: Verifies;
  readonly acts: Authorizes;
  /** What each peer's streams hold. */
  readonly held: Pick<ReadBudgets, "of">;
  /** What each peer's work may cost. */
  readonly work: Pick<WorkBudgets, "run" | "leave" | "charge" | "refund">;
  readonly outbox: Outbox;
  readonly uuid: () => string;
  readonly traces?: RequestTraces | undefined;
}
