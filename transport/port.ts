/**
 * The vocabulary of the transport: asks, answers and facts. The gate's part is in `gate_port.ts`.
 *
 * Role machines, leases and jobs know these messages and nothing of libp2p. All that a role learns of the network arrives as an
 * event; all that it wants of the network is an event that it sends. Each ask has an `id` of the asker's and exactly one
 * answer, which goes to `replyTo`, never inside the send that asked. Facts go to the parent.
 *
 * @module
 */
import { Data, type Effect } from "effect";
import type { NotAuthorized, Refusal } from "../pki/refusal.ts";
import type { PeerIdentity } from "../pki/path.ts";
import type { Member } from "../pki/member.ts";
import type { MemberRole } from "../pki/certificate.ts";
import type { TrustSnapshot } from "../pki/trust.ts";
import type { Act } from "./authorization/acts.ts";
import type { Rule } from "./authorization/authorize.ts";
import type { CloseReason } from "./gate_port.ts";
import type { AddressText, NodeIdentity, PeerText } from "./node_identity.ts";
import type { Message, MessageProtocol, WorkerRequest } from "./protocols/messages.ts";
import type { StreamProtocol } from "./protocols/stream_protocols.ts";

export type * from "./gate_port.ts";
export type * from "./input_port.ts";
export type * from "./node_identity.ts";
export * from "./protocols/stream_protocols.ts";

// ── Asks ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Where an answer goes: an actor, or anything else with `send`. */
export interface ReplyTo<Answer> {
  /** Delivers the answer. */
  send(answer: Answer): void;
}

/** A request, stream, gossip or record operation that failed at this end or the other. */
export class TransportError extends Data.TaggedError("TransportError")<{
  readonly code:
    | "not-connected"
    | "timed-out"
    | "cancelled"
    | "no-answer"
    | "too-large"
    | "malformed"
    | "stream-reset"
    | "unsupported"
    /** The other side answered with a refusal's code, which is the detail. */
    | "refused"
    /** No certificate of the peer allows it the role or the member that the ask is meant for. */
    | "not-authorized"
    /** An address cannot be listened on; the detail is the whole sentence, one for each address. */
    | "not-listening"
    | "stopped"
    | "failed";
  readonly detail: string;
}> {
  /** What happened, in one line. */
  override get message(): string {
    if (this.code === "not-listening") return this.detail;
    return `Cannot complete exchange (${this.code}): ${this.detail}`;
  }
}

/** One piece of a stream. A stream is whole only when the sender's half-close was seen. */
export type StreamChunk =
  | { readonly type: "bytes"; readonly bytes: Uint8Array }
  | { readonly type: "end"; readonly outcome: "whole" | "broken" };

/** A raw stream with a bounded buffer and back-pressure at both ends. */
export interface StreamHandle {
  /** Identifier of the stream. */
  readonly id: string;
  /** The other side. */
  readonly peer: PeerText;
  /** Its protocol. */
  readonly protocol: StreamProtocol;
  /** Reads the next piece; after `end` always `end`. */
  readonly read: Effect.Effect<StreamChunk, TransportError>;
  /** Ends once the connection has taken the piece over: waits for drain. */
  write(bytes: Uint8Array): Effect.Effect<void, TransportError>;
  /** Half-closes the writing side. */
  readonly end: Effect.Effect<void, TransportError>;
  /** Resets both directions. */
  abort(reason: string): Effect.Effect<void>;
}

/** Whom of a PeerID's members an ask is meant for: any that may act in one of these roles, or one member. */
export type AskTarget = { readonly roles: readonly MemberRole[] } | { readonly member: Member };

/** Everything that can be sent to the transport actor. */
export type TransportAsk =
  | { readonly type: "start"; readonly replyTo: ReplyTo<StartAnswer> }
  /**
   * Makes room for a transport of another key: stops listening, so that the addresses are free. Connections stay, and dials of
   * its own go on. Facts go to `factsTo` from now on, no longer to the parent.
   */
  | {
    readonly type: "retire";
    readonly replyTo: ReplyTo<RetireAnswer>;
    readonly factsTo: ReplyTo<TransportFact>;
  }
  /**
   * Ends everything. For `graceMs` (none where absent) connections with an exchange, a stream or a relayed circuit on them
   * are let finish, and can be answered on; idle ones end at once. Asked again, the shorter grace counts.
   */
  | { readonly type: "drain"; readonly graceMs?: number; readonly replyTo: ReplyTo<DrainAnswer> }
  | { readonly type: "peers"; readonly replyTo: ReplyTo<PeersAnswer> }
  | { readonly type: "counters"; readonly replyTo: ReplyTo<CountersAnswer> }
  | {
    readonly type: "dial";
    readonly id: string;
    /** A PeerID as text, or a multiaddr as text (with or without `/p2p/…`). */
    readonly target: { readonly peer: PeerText } | { readonly address: AddressText };
    readonly replyTo: ReplyTo<DialAnswer>;
  }
  | { readonly type: "close"; readonly peer: PeerText; readonly reason: string }
  /**
   * Keeps existing connections to these peers open, also unused ones, until the same peers are released. Dials none of them, but for those
   * whose connections are lost meanwhile.
   */
  | { readonly type: "hold"; readonly peers: readonly PeerText[] }
  | { readonly type: "release"; readonly peers: readonly PeerText[] }
  | { readonly type: "trust.changed"; readonly snapshot: TrustSnapshot }
  | { readonly type: "identity.changed"; readonly identity: NodeIdentity }
  /** The operator's rules changed. What they no longer allow ends. */
  | { readonly type: "rules.changed"; readonly rules: readonly Rule[] }
  | { readonly type: "serve"; readonly protocol: MessageProtocol | StreamProtocol }
  | { readonly type: "unserve"; readonly protocol: MessageProtocol | StreamProtocol }
  | {
    readonly type: "request";
    readonly id: string;
    readonly peer: PeerText;
    /**
     * The request goes out on a connection whose certificate fits. Where none does, one is dialled once; then it fails with
     * `not-authorized`. Where undefined, it is meant for the roles that the table of acts has it received by.
     */
    readonly to?: AskTarget;
    /** `never`: it goes out on an established connection. Where there is none, it fails with `not-connected`. */
    readonly dial?: "never";
    readonly protocol: MessageProtocol;
    readonly message: Message;
    readonly timeoutMs: number;
    readonly replyTo: ReplyTo<RequestAnswer>;
  }
  | { readonly type: "request.cancel"; readonly id: string }
  | { readonly type: "respond"; readonly exchange: string; readonly message: Message }
  | { readonly type: "decline"; readonly exchange: string }
  | { readonly type: "subscribe"; readonly topic: string }
  | { readonly type: "unsubscribe"; readonly topic: string }
  | {
    readonly type: "publish";
    readonly id: string;
    readonly topic: string;
    readonly message: WorkerRequest;
    readonly replyTo: ReplyTo<PublishAnswer>;
  }
  | {
    readonly type: "record.put";
    readonly id: string;
    readonly key: string;
    readonly value: Uint8Array;
    readonly timeoutMs: number;
    readonly replyTo: ReplyTo<RecordAnswer>;
  }
  | {
    readonly type: "record.get";
    readonly id: string;
    readonly key: string;
    readonly timeoutMs: number;
    readonly replyTo: ReplyTo<RecordAnswer>;
  }
  | {
    readonly type: "stream.open";
    readonly id: string;
    readonly peer: PeerText;
    /** As of a request. */
    readonly to?: AskTarget;
    readonly protocol: StreamProtocol;
    /** Negotiated on the same stream if the peer does not support `protocol`. {@linkcode StreamHandle.protocol} is the selected one. */
    readonly fallback?: StreamProtocol | undefined;
    readonly timeoutMs: number;
    readonly replyTo: ReplyTo<StreamAnswer>;
  }
  | { readonly type: "stream.accept"; readonly exchange: string; readonly replyTo: ReplyTo<StreamAnswer> }
  | { readonly type: "stream.reject"; readonly exchange: string };

/** Answer to `counters`. */
export interface CountersAnswer {
  /** Tells answers apart. */
  readonly type: "counters";
  /** The numbers. */
  readonly counters: TransportCounters;
}
/** Answer to `start`. */
export type StartAnswer =
  | {
    readonly type: "listening";
    /** What peers are told: with `/p2p/…` and `externalAddresses`, without what `excludeCidr` excludes. */
    readonly addresses: readonly AddressText[];
    /** What is listened on, as configured; for an open port the port that the system gave. */
    readonly bound: readonly AddressText[];
    /** Addresses of a version of IP that this machine lacks; the start goes on without them. One sentence each. */
    readonly left: readonly string[];
  }
  | { readonly type: "transport.failed"; readonly error: TransportError };
/** Answer to `retire`: the transport no longer listens. */
export interface RetireAnswer {
  /** Tells answers apart. */
  readonly type: "retired";
  /** What a successor is to listen on: for an open port of the configuration, the port that there was. */
  readonly listenAddresses: readonly AddressText[];
  /** Established peers and where each can be dialled, with `/p2p/…`; peers without an address are left out. */
  readonly peers: readonly { readonly peer: PeerText; readonly addresses: readonly AddressText[] }[];
}
/** Answer to `drain`: every connection is closed and libp2p stopped. */
export type DrainAnswer = { readonly type: "drained" };
/** Answer to `peers`: the members that are established now. */
export type PeersAnswer = {
  readonly type: "peers";
  readonly list: readonly { readonly peer: PeerText; readonly identity: PeerIdentity }[];
};
/** Answers to `dial`. */
export type DialAnswer =
  | { readonly type: "dial.done"; readonly id: string; readonly peer: PeerText }
  | { readonly type: "dial.failed"; readonly id: string; readonly refusal: Refusal };
/** Answers to `request`. */
export type RequestAnswer =
  | { readonly type: "response"; readonly id: string; readonly message: Message }
  | { readonly type: "request.failed"; readonly id: string; readonly error: TransportError };
/** Answers to `publish`. */
export type PublishAnswer =
  | { readonly type: "publish.done"; readonly id: string }
  | { readonly type: "publish.failed"; readonly id: string; readonly error: TransportError };
/** Answers to asks about records. */
export type RecordAnswer =
  | { readonly type: "record.stored"; readonly id: string }
  | {
    readonly type: "record";
    readonly id: string;
    readonly key: string;
    /** What the publisher itself says. */
    readonly value: Uint8Array;
    readonly publisher: PeerText;
    /** What the publisher's certificate proved; undefined: this node publishes it. */
    readonly identity: PeerIdentity | undefined;
  }
  | { readonly type: "record.missing"; readonly id: string }
  | { readonly type: "record.failed"; readonly id: string; readonly error: TransportError };
/** `id` is the asker's for `stream.open`, the exchange for `stream.accept`. */
export type StreamAnswer =
  | { readonly type: "stream.opened"; readonly id: string; readonly stream: StreamHandle }
  | { readonly type: "stream.failed"; readonly id: string; readonly error: TransportError };

/** Every answer. */
export type TransportAnswer =
  | StartAnswer
  | DrainAnswer
  | RetireAnswer
  | PeersAnswer
  | CountersAnswer
  | DialAnswer
  | RequestAnswer
  | PublishAnswer
  | RecordAnswer
  | StreamAnswer;

// ── Facts ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What the transport tells its parent unasked. */
export type TransportFact =
  /** At a member's first connection ({@linkcode memberOf}): a PeerID that shows two certificates may be two members. */
  | { readonly type: "peer.established"; readonly peer: PeerText; readonly identity: PeerIdentity }
  /** At each further connection of an established member. It may be a new process, while the end of the former is not seen yet. */
  | { readonly type: "peer.reconnected"; readonly peer: PeerText; readonly identity: PeerIdentity }
  /** At the member's last. */
  | {
    readonly type: "peer.closed";
    readonly peer: PeerText;
    readonly identity: PeerIdentity;
    readonly reason: CloseReason;
  }
  | {
    readonly type: "peer.refused";
    readonly address: AddressText;
    readonly direction: "inbound" | "outbound";
    /** Certificate name and PeerID, once a certificate was seen. */
    readonly peer: { readonly name: string; readonly id: PeerText } | undefined;
    readonly refusal: Refusal;
    /** Refusals of this member before it that were not told: a role tells one a minute. */
    readonly untold?: number;
  }
  /** The message is decoded and bounded. `exchange` is the transport's; one that is not answered in time declines itself. */
  | {
    readonly type: "request.received";
    readonly exchange: string;
    readonly peer: PeerText;
    readonly identity: PeerIdentity;
    readonly protocol: MessageProtocol;
    readonly message: Message;
  }
  /** A member's request that does not decode, or is too large; it got no answer. At most one a minute for each member and protocol. */
  | {
    readonly type: "request.malformed";
    readonly peer: PeerText;
    readonly identity: PeerIdentity;
    readonly protocol: MessageProtocol;
    readonly detail: string;
    /** Such requests of this member over this protocol since the last one that was told. */
    readonly untold: number;
  }
  /** A member did what it may not do. The first of each member and act, then at most one a minute. */
  | {
    readonly type: "act.refused";
    readonly act: Act;
    readonly peer: PeerText;
    readonly identity: PeerIdentity;
    readonly refusal: NotAuthorized;
    /** Refusals of this member and act since the last one that was told. */
    readonly untold: number;
  }
  /** Changed rules forbid an established member acts that it was allowed before. What it began by them is to end. */
  | {
    readonly type: "authorization.changed";
    readonly peer: PeerText;
    readonly identity: PeerIdentity;
    readonly denied: readonly Act[];
  }
  | {
    readonly type: "stream.received";
    readonly exchange: string;
    readonly peer: PeerText;
    readonly identity: PeerIdentity;
    readonly protocol: StreamProtocol;
  }
  /** `from` is the author (verified here and not revoked), `via` the peer that handed it on. */
  | {
    readonly type: "published";
    readonly topic: string;
    readonly from: PeerText;
    /** What a certificate of the author proved that lets it publish this. */
    readonly identity: PeerIdentity;
    readonly via: PeerText;
    readonly message: WorkerRequest;
  }
  | { readonly type: "reachable"; readonly addresses: readonly AddressText[] }
  | { readonly type: "reservation.lost"; readonly relay: PeerText }
  | { readonly type: "dht.ready" }
  /** The transport cannot go on. */
  | { readonly type: "transport.failed"; readonly error: TransportError };

/** Counters of a transport, since its start. */
export interface TransportCounters {
  /** Connections whose gate was opened. */
  readonly accepted: number;
  /** Octets of application data received. */
  readonly bytesReceived: number;
  /** Octets of application data sent. */
  readonly bytesSent: number;
}
