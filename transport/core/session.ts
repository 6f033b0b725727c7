/**
 * A running transport: a wire, the connection table, and the parts that use them.
 *
 * @module
 */
import { Result } from "effect";
import type { PeerIdentity } from "../../pki/path.ts";
import type { Refusal } from "../../pki/refusal.ts";
import {
  type CloseReason,
  type Gate,
  isStreamProtocol,
  type NodeIdentity,
  type PeerText,
  type TransportAsk,
  TransportError,
  type TransportInput,
} from "../port.ts";
import type { Rule } from "../authorization/authorize.ts";
import { isMessageProtocol } from "../protocols/messages.ts";
import { recordProtocol } from "../protocols/record_message.ts";
import { Authorization } from "./authorization.ts";
import type { Clock, Timer } from "./clock.ts";
import { type ConnectionRow, ConnectionTable } from "./connection_table.ts";
import { Departed } from "./departed.ts";
import { Dialler } from "./dialing.ts";
import { establishedOf } from "./established.ts";
import { Gateways } from "./gateways.ts";
import { Gossip } from "./gossip.ts";
import { IdleLinks } from "./idle_links.ts";
import { KadStreams } from "./kad_streams.ts";
import { MemberCosts, type MemberCostsInit } from "./member_costs.ts";
import type { Outbox } from "./outbox.ts";
import type { OpenCounts, SessionParts } from "./parts.ts";
import { RawStreams } from "./raw_streams.ts";
import { Reachability } from "./reachability.ts";
import { Records } from "./records.ts";
import { Requests } from "./requests.ts";
import { wireListener } from "./session_listener.ts";
import { addressesOfPeers } from "./successor.ts";
import type { StreamVerdict } from "./stream_places.ts";
import type { TransportWatch } from "./transport_watch.ts";
import { VerifiedPeers } from "./verified_peers.ts";
import {
  closeGraceMs,
  kadProtocol,
  type Wire,
  type WireConnection,
  type WireListener,
  type WireStarted,
  type WireStream,
} from "./wire.ts";

/** How long a dial may take in all, beyond the handshake's own deadline, in milliseconds. */
const dialSlackMs = 5_000;
/** Interval at which a drain looks at busy connections, in milliseconds. */
const settleLookMs = 50;

/** What a session handles: everything but its own beginning and end. */
export type SessionAsk = Exclude<TransportAsk, { type: "start" | "drain" }>;
type RunningAsk = Exclude<SessionAsk, { type: "trust.changed" | "identity.changed" | "rules.changed" }>;
type Handlers = { readonly [T in RunningAsk["type"]]: (ask: Extract<RunningAsk, { type: T }>) => void };

/** What a session is made with. */
export interface SessionInit {
  readonly input: TransportInput;
  readonly clock: Clock;
  readonly wire: Wire;
  readonly outbox: Outbox;
  readonly watch: TransportWatch;
  readonly workLimits: MemberCostsInit["limits"];
}

/** One start of a wire, until its stop. */
export class Session {
  readonly #init: SessionInit;
  readonly #table: ConnectionTable;
  /** What each member costs. */
  readonly costs: MemberCosts;
  readonly #dialler: Dialler;
  readonly #verified: VerifiedPeers;
  readonly #reachability: Reachability;
  readonly #acts: Authorization;
  readonly #departed: Departed;
  readonly #gateways: Gateways;
  readonly #requests: Requests;
  readonly #streams: RawStreams;
  readonly #kad: KadStreams;
  readonly #records: Records;
  readonly #gossip: Gossip;
  readonly #links: IdleLinks;
  readonly #served = new Set<string>();
  /** Ends of previous certificates' connections, each in its time; as many as there are pairs within one `drainMs`. */
  readonly #drains = new Set<Timer>();
  readonly #onStopped: (() => void)[] = [];
  #identity: NodeIdentity;
  #mayReach: WireListener["mayDial"] = () => false;
  #phase: "running" | "settling" | "stopping" | "stopped" = "running";
  #graceEndsAt = Number.POSITIVE_INFINITY;

  /** Nothing is started yet. */
  constructor(init: SessionInit) {
    this.#init = init;
    const { input, clock, wire, outbox } = init;
    this.#identity = input.identity;
    const table = this.#table = this.#makeTable();
    this.#dialler = new Dialler({ wire, clock, table, timeoutMs: input.handshakeTimeoutMs + dialSlackMs });
    this.#verified = new VerifiedPeers({ clock, established: table, dialler: this.#dialler });
    this.#departed = new Departed(() => clock.monotonic());
    const established = establishedOf(table, this.#departed, () => this.#gateways.peers());
    const reachability = this.#reachability = new Reachability({ input, wire, clock, outbox, established });
    this.costs = new MemberCosts({ clock, outbox, table, reachability, limits: init.workLimits });
    const members = () => [...table.list(), ...this.#departed.list()];
    this.#acts = new Authorization({ input, clock, outbox, members });
    this.#gateways = new Gateways({ input, wire, table, acts: this.#acts, reachability });
    const parts: SessionParts = {
      self: input.identity.peer,
      wire,
      clock,
      established,
      streams: this.costs.places,
      dialler: this.#dialler,
      verified: this.#verified,
      acts: this.#acts,
      held: this.costs.held,
      work: this.costs.work,
      outbox,
      uuid: input.uuid,
      traces: init.watch.requests,
    };
    this.#requests = new Requests(parts);
    this.#streams = new RawStreams(parts);
    this.#records = new Records(parts);
    this.#kad = new KadStreams(parts, this.#records);
    this.#gossip = new Gossip(parts);
    const { costs: { places } } = this, gateways = this.#gateways, requests = this.#requests;
    this.#links = new IdleLinks({ input, clock, table, places, gateways, reachability, requests });
    init.watch.session?.(this);
  }

  #makeTable(): ConnectionTable {
    const { input, clock, outbox } = this.#init;
    return new ConnectionTable({
      ...input,
      clock,
      identity: () => this.#identity,
      listener: {
        turnedAway: (address, refusal) =>
          outbox.tell({ type: "peer.refused", address, direction: "inbound", peer: undefined, refusal }),
        established: (connection, identity, first) => this.#established(connection, identity, first),
        left: (_connection, identity, reason, last, proven) => this.#left(identity, reason, last, proven),
        refused: (connection, gate, refusal) => this.#refused(connection, gate, refusal),
      },
    });
  }

  #established(connection: WireConnection, identity: PeerIdentity, first: boolean): void {
    this.costs.places.established(connection);
    this.#departed.returned(identity);
    this.#gateways.established(identity);
    this.#links.established(identity.peer);
    this.#init.outbox.tell({ type: first ? "peer.established" : "peer.reconnected", peer: identity.peer, identity });
    this.#verified.seen(identity);
    this.#reachability.established(connection, identity);
  }

  #left(identity: PeerIdentity, reason: CloseReason, last: boolean, proven: PeerIdentity | undefined): void {
    this.#verified.left(identity, reason, proven);
    if (!last) return;
    if (reason.type !== "trust.changed") this.#departed.left(identity);
    this.#init.outbox.tell({ type: "peer.closed", peer: identity.peer, identity, reason });
    if (this.#phase === "running") this.#links.left(identity.peer, reason);
  }

  #refused({ address, direction }: WireConnection, { identity, presented }: Gate, refusal: Refusal): void {
    const peer = identity === undefined ? presented : { name: identity.name, id: identity.peer };
    this.#init.outbox.tell({ type: "peer.refused", address, direction, peer, refusal });
  }

  /** A stream counts with the identity of the connection it came in on, whatever other connections the peer has. */
  #stream(connection: WireConnection, stream: WireStream): StreamVerdict {
    const identity = this.#table.identityOf(connection);
    if (identity === undefined) return "refused";
    const { protocol } = stream;
    return this.costs.places.received(connection, protocol, () => {
      if (protocol === kadProtocol) return this.#kad.received(connection, identity, stream);
      if (protocol === recordProtocol) return this.#records.received(connection, identity, stream);
      if (!this.#served.has(protocol)) return "unsupported";
      if (isStreamProtocol(protocol)) return this.#streams.received(connection, identity, protocol, stream);
      if (isMessageProtocol(protocol)) return this.#requests.received(connection, identity, protocol, stream);
      return "unsupported";
    });
  }

  /** Starts the wire. Where that fails nothing is left over. */
  start(done: (started: Result.Result<WireStarted, TransportError>) => void): void {
    const { listener, mayReach } = wireListener({
      input: this.#init.input,
      table: this.#table,
      costs: this.costs,
      gateways: this.#gateways,
      gossip: this.#gossip,
      reachability: this.#reachability,
      dials: () => this.#phase === "running",
      stream: (connection, stream) => this.#stream(connection, stream),
    });
    this.#mayReach = mayReach;
    this.#init.wire.start(listener, (started) => {
      if (Result.isSuccess(started) && this.#phase === "running") {
        this.#reachability.addresses(started.success.addresses);
        this.#reachability.started();
        this.#links.started();
        return done(started);
      }
      const error = Result.isFailure(started)
        ? started.failure
        : new TransportError({ code: "stopped", detail: "it was stopped while it started" });
      this.stop("the wire did not start", 0, () => done(Result.fail(error)));
    });
  }

  /** Handles an ask. Trust and identity may change at any time; everything else needs a started session. */
  handle(ask: SessionAsk): void {
    if (ask.type === "trust.changed") {
      this.#verified.trustChanged();
      return this.#table.trustChanged(ask.snapshot);
    }
    if (ask.type === "identity.changed") return this.#changeIdentity(ask.identity);
    if (ask.type === "rules.changed") return this.#changeRules(ask.rules);
    const handler = this.#handlers[ask.type] as (ask: RunningAsk) => void;
    handler(ask);
  }

  readonly #handlers: Handlers = {
    "peers": ({ replyTo }) => this.#init.outbox.answer(replyTo, { type: "peers", list: this.#table.list() }),
    "counters": ({ replyTo }) => {
      const { received, sent } = this.#init.wire.meter;
      const counters = { accepted: this.#table.accepted, bytesReceived: received, bytesSent: sent };
      this.#init.outbox.answer(replyTo, { type: "counters", counters });
    },
    "dial": (ask) => this.#dial(ask),
    "retire": (ask) => this.#retire(ask),
    "close": ({ peer, reason }) => this.#table.close(peer, reason),
    "hold": ({ peers }) => this.#links.hold(peers),
    "release": ({ peers }) => this.#links.release(peers),
    "serve": ({ protocol }) => {
      this.#served.add(protocol);
      this.#init.wire.serve(protocol);
    },
    "unserve": ({ protocol }) => {
      this.#served.delete(protocol);
      this.#init.wire.unserve(protocol);
    },
    "request": (ask) => this.#requests.request(ask),
    "request.cancel": ({ id }) => this.#requests.cancel(id),
    "respond": (ask) => {
      this.#init.watch.answer?.(ask.message, this);
      this.#requests.respond(ask);
    },
    "decline": ({ exchange }) => this.#requests.decline(exchange),
    "subscribe": ({ topic }) => this.#gossip.subscribe(topic),
    "unsubscribe": ({ topic }) => this.#gossip.unsubscribe(topic),
    "publish": (ask) => this.#gossip.publish(ask),
    "record.put": (ask) => this.#records.put(ask),
    "record.get": (ask) => this.#records.get(ask),
    "stream.open": (ask) => this.#streams.open(ask),
    "stream.accept": (ask) => this.#streams.accept(ask),
    "stream.reject": ({ exchange }) => this.#streams.reject(exchange),
  };

  #dial({ id, target, replyTo }: Extract<TransportAsk, { type: "dial" }>): void {
    const { outbox } = this.#init;
    this.#dialler.dial(target, (outcome) => {
      if (Result.isFailure(outcome)) {
        return outbox.answer(replyTo, { type: "dial.failed", id, refusal: outcome.failure });
      }
      const refusal = this.#gateways.refusalOfDial(target, outcome.success);
      if (refusal !== undefined) return outbox.answer(replyTo, { type: "dial.failed", id, refusal });
      const peer = this.#table.identityOf(outcome.success)?.peer ?? "";
      outbox.answer(replyTo, { type: "dial.done", id, peer });
    });
  }

  #retire({ replyTo, factsTo }: Extract<TransportAsk, { type: "retire" }>): void {
    const { outbox, wire } = this.#init;
    outbox.redirect(factsTo);
    const listenAddresses = wire.stopListening();
    addressesOfPeers({ wire, table: this.#table, mayDial: this.#mayReach }, (peers) => {
      outbox.answer(replyTo, { type: "retired", listenAddresses, peers });
    });
  }

  /** New handshakes use the new pair. Another key is another PeerID, which a wire cannot take up while it runs. */
  #changeIdentity(identity: NodeIdentity): void {
    const { outbox, input: { rotation: { drain, drainMs } }, clock } = this.#init;
    if (identity.peer !== this.#identity.peer) {
      const detail = "another key needs another transport: its PeerID is fixed";
      return outbox.tell({ type: "transport.failed", error: new TransportError({ code: "failed", detail }) });
    }
    this.#identity = identity;
    if (drain !== "time" || this.#phase !== "running") return;
    const timer = clock.after(drainMs, () => {
      this.#drains.delete(timer);
      this.#table.closeBefore(identity.generation, "its certificate was replaced");
    });
    this.#drains.add(timer);
  }

  /** What the rules no longer allow ends; the rest is unaffected. */
  #changeRules(rules: readonly Rule[]): void {
    this.#acts.change(rules, (member, denied) => this.#gateways.denied(this.#table.connectionsOf(member), denied));
    for (const part of [this.#requests, this.#streams, this.#kad, this.#records]) part.rulesChanged();
  }

  /**
   * Ends every connection and stops the wire. Calling it again waits for the same end, and may cut its grace short.
   *
   * @param graceMs How long connections with work on them may go on.
   */
  stop(reason: string, graceMs: number, done: () => void): void {
    const { clock } = this.#init;
    if (this.#phase === "stopped") return done();
    this.#onStopped.push(done);
    this.#graceEndsAt = Math.min(this.#graceEndsAt, clock.monotonic() + graceMs);
    if (this.#phase !== "running") return;
    this.#phase = "settling";
    this.#reachability.stop();
    this.#links.stop();
    this.#settle(reason);
  }

  /** Ends idle connections, and looks again until none is left or the grace is over. */
  #settle(reason: string): void {
    const { clock } = this.#init;
    const now = clock.monotonic();
    if (now < this.#graceEndsAt) {
      const { places } = this.costs;
      // A drain waits for exchanges, files, and circuits that the wire relays for others.
      const busy = this.#table.closeIdle((each) => each.isRelaying || places.isUsed(each), reason);
      if (busy > 0 || this.#table.size > 0) {
        // What leaves with a connection's close takes its grace; only then the wire may end it.
        if (busy === 0) this.#graceEndsAt = Math.min(this.#graceEndsAt, now + closeGraceMs);
        clock.after(settleLookMs, () => this.#settle(reason));
        return;
      }
    }
    this.#end(reason);
  }

  #end(reason: string): void {
    this.#phase = "stopping";
    for (const timer of this.#drains) this.#init.clock.cancel(timer);
    this.#requests.stop();
    this.#streams.stop();
    this.#records.stop();
    this.#kad.stop();
    this.#verified.stop();
    this.#dialler.stop();
    this.costs.work.stop();
    this.#table.closeAll(reason);
    // After the closes of this turn: the wire ends what they leave.
    this.#init.clock.yield(() =>
      this.#init.wire.stop(() => {
        this.#phase = "stopped";
        for (const done of this.#onStopped.splice(0)) done();
      })
    );
  }

  /** This node. */
  get self(): PeerText {
    return this.#init.input.identity.peer;
  }

  /** Whether its wire has stopped. */
  get isStopped(): boolean {
    return this.#phase === "stopped";
  }

  /** The peers that are established. */
  peers(): readonly PeerText[] {
    return [...this.#table.peers()];
  }

  /** Every connection in every phase. */
  connections(): IterableIterator<ConnectionRow> {
    return this.#table.rows();
  }

  get accepted(): number {
    return this.#table.accepted;
  }

  /** What is under way, by kind. */
  get open(): OpenCounts {
    const [exchanges, streams] = [this.#requests.size + this.#records.size, this.#streams.size + this.#kad.size];
    const [dials, verifications] = [this.#dialler.size, this.#verified.size];
    return { exchanges, streams, dials, verifications, halfOpen: this.#table.halfOpen };
  }
}
