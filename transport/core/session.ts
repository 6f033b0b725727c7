/**
 * A running transport: libp2p with its gates, and who does what with it.
 *
 * @module
 */
import { addressRules } from "./address_filter.ts";
import { Connections, namingPeer } from "./connections.ts";
import { DialFailed, Dialler } from "./dialing.ts";
import { defaultFrameLimits, FrameBudgets } from "../libp2p/frame_guard.ts";
import { Gossip } from "./gossip.ts";
import { internalsOf, type NodeInternals } from "../libp2p/node_internals.ts";
import { createNode, type Node, protocolVersion, streamWindowMax } from "../libp2p/node.ts";
import { mtls } from "../libp2p/mtls.ts";
import { closeGraceMs } from "./gate_book.ts";
import type { Outbox } from "./outbox.ts";
import {
  type AddressText,
  isStreamProtocol,
  type NodeIdentity,
  type PeerText,
  type StartAnswer,
  type StreamProtocol,
  type TransportAsk,
  TransportError,
  type TransportInput,
} from "../port.ts";
import { Listening } from "../libp2p/listening.ts";
import type { MessageProtocol } from "../protocols/messages.ts";
import { RawStreams } from "./raw_streams.ts";
import { Reachability } from "./reachability.ts";
import { Records } from "./records.ts";
import { Requests, type SessionParts } from "./requests.ts";
import type { Meter } from "../libp2p/secured_stream.ts";
import { VerifiedPeers } from "./verified_peers.ts";
import { Internal } from "../../pki/refusal.ts";

/** How long a dial may take in all, beyond the handshake's own deadline, in milliseconds. */
const dialSlackMs = 5_000;

/** What a session that has started says: the answer to `start`. */
export type Started = Omit<Extract<StartAnswer, { type: "listening" }>, "type">;

/** What a session hears: everything but its own beginning and end. */
export type SessionAsk = Exclude<TransportAsk, { type: "start" | "drain" }>;

/** How often connections that are let finish are looked at, in milliseconds. */
const settleLookMs = 50;
/** Peers whose addresses a successor is told, and addresses of each: it dials them all at once. */
export const successorPeersMax = 256;
const successorAddressesMax = 4;
/** A stream in such a state is over. */
const overStates: ReadonlySet<string> = new Set(["closed", "reset", "aborted"]);
/** What is let finish: exchanges, files, and what is relayed for others. */
const workProtocols = /^\/(hypha-|libp2p\/circuit\/relay\/)/;

type RunningAsk = Exclude<SessionAsk, { type: "trust.changed" | "identity.changed" }>;

interface Running {
  readonly libp2p: Node;
  readonly dialler: Dialler;
  readonly requests: Requests;
  readonly streams: RawStreams;
  readonly gossip: Gossip;
  readonly records: Records;
  readonly reachability: Reachability;
  readonly internals: NodeInternals;
  readonly verified: VerifiedPeers;
}

/** One start of libp2p, until its stop. */
export class Session {
  readonly #input: TransportInput;
  readonly #outbox: Outbox;
  readonly #connections: Connections;
  readonly #meter: Meter = { received: 0, sent: 0 };
  readonly #served = new Set<MessageProtocol | StreamProtocol>();
  /** Ends of former certificates' connections, each in its time; as many as there are pairs within one `drainMs`. */
  readonly #drains = new Set<ReturnType<typeof setTimeout>>();
  #running: Running | undefined;
  #graceEndsAt = Number.POSITIVE_INFINITY;
  #stopping: Promise<void> | undefined;

  constructor(input: TransportInput, outbox: Outbox) {
    this.#input = input;
    this.#outbox = outbox;
    this.#connections = new Connections(input, outbox);
  }

  /** Starts libp2p. Rejects with what it could not do; nothing is left over then. */
  async start(): Promise<Started> {
    const input = this.#input;
    const listening = new Listening();
    const addresses = addressRules(input, (peer) => this.#connections.isGateway(peer));
    const libp2p = await createNode(input, {
      addresses,
      listening,
      gater: this.#connections.gater(addresses),
      protector: this.#connections.protector(),
      turnsAway: (address) => this.#connections.turnsAway(address),
      encrypter: mtls({
        identity: () => this.#connections.identity,
        keyExchange: input.keyExchange,
        gates: this.#connections.book,
        now: input.now,
        meter: this.#meter,
        frames: new FrameBudgets({ ...defaultFrameLimits, frameBytesMax: streamWindowMax }),
      }),
    });
    if (this.#stopping !== undefined) throw new Error("it was stopped before it started");
    const internals = internalsOf(libp2p);
    internals.setProtocolVersion(protocolVersion);
    const dialler = new Dialler(libp2p, this.#connections, input.handshakeTimeoutMs + dialSlackMs);
    const parts: SessionParts = {
      libp2p,
      connections: this.#connections,
      dialler,
      outbox: this.#outbox,
      uuid: input.uuid,
      now: input.now,
    };
    const verified = new VerifiedPeers(this.#connections, dialler, input.now);
    const reachability = new Reachability(libp2p, internals, input, this.#outbox);
    const running: Running = {
      libp2p,
      dialler,
      reachability,
      internals,
      verified,
      requests: new Requests(parts),
      streams: new RawStreams(parts),
      gossip: new Gossip(parts, verified),
      records: new Records(parts, verified, internals.kad, input.now),
    };
    this.#connections.onOpened((connection, identity) => {
      verified.seen(identity.peer);
      reachability.opened(connection);
    });
    libp2p.addEventListener("connection:open", ({ detail }) => this.#connections.opened(detail));
    this.#running = running;
    try {
      await libp2p.start();
    } catch (error) {
      await this.stop("libp2p did not start");
      throw listening.error(input.listenAddresses, "failed") ?? error;
    }
    const unheard = listening.error(input.listenAddresses, "started");
    if (unheard !== undefined) {
      await this.stop("libp2p does not listen where it was to");
      throw unheard;
    }
    if (this.#stopping !== undefined) {
      await libp2p.stop(); // a stop during the start has stopped what there was then
      throw new Error("it was stopped while it started");
    }
    reachability.started();
    return {
      addresses: libp2p.getMultiaddrs().map((address) => address.toString()),
      bound: [...listening.bound],
      left: listening.failures.map(({ address, why }) => `${address}: ${why}`),
    };
  }

  /** Does what is asked. Trust and identity may change at any time; everything else wants a started session. */
  hear(ask: SessionAsk): void {
    if (ask.type === "trust.changed") {
      this.#running?.verified.trustChanged();
      return this.#connections.trustChanged(ask.snapshot);
    }
    if (ask.type === "identity.changed") return this.#changeIdentity(ask.identity);
    if (this.#running === undefined) throw new Error("Cannot do anything before the start has ended");
    this.#do(this.#running, ask);
  }

  #do(running: Running, ask: RunningAsk): void {
    const { requests, streams, gossip, records } = running;
    switch (ask.type) {
      case "peers":
        return this.#outbox.answer(ask.replyTo, { type: "peers", list: this.#connections.list() });
      case "counters": {
        const { accepted } = this.#connections;
        const counters = { accepted, bytesReceived: this.#meter.received, bytesSent: this.#meter.sent };
        return this.#outbox.answer(ask.replyTo, { type: "counters", counters });
      }
      case "dial":
        return this.#dial(running, ask);
      case "retire":
        return this.#retire(running, ask);
      case "close":
        return this.#connections.close(ask.peer, ask.reason);
      case "serve":
        return this.#serve(running, ask.protocol);
      case "unserve":
        return this.#unserve(running, ask.protocol);
      case "request":
        return requests.request(ask);
      case "request.cancel":
        return requests.cancel(ask.id);
      case "respond":
        return requests.respond(ask);
      case "decline":
        return requests.decline(ask.exchange);
      case "subscribe":
        return gossip.subscribe(ask.topic);
      case "unsubscribe":
        return gossip.unsubscribe(ask.topic);
      case "publish":
        return gossip.publish(ask);
      case "record.put":
        return records.put(ask);
      case "record.get":
        return records.get(ask);
      case "stream.open":
        return streams.open(ask);
      case "stream.accept":
        return streams.accept(ask);
      case "stream.reject":
        return streams.reject(ask.exchange);
    }
  }

  #retire(running: Running, { replyTo, factsTo }: Extract<TransportAsk, { type: "retire" }>): void {
    this.#outbox.redirect(factsTo);
    const listenAddresses = running.internals.stopListening();
    this.#addressesOfPeers(running).then((peers) =>
      this.#outbox.answer(replyTo, { type: "retired", listenAddresses, peers })
    );
  }

  /** Where those who are established can be dialled: where they were, or as they announced. */
  async #addressesOfPeers({ libp2p }: Running): Promise<{ peer: PeerText; addresses: AddressText[] }[]> {
    const { mayDial } = addressRules(this.#input, (peer) => this.#connections.isGateway(peer));
    const named = this.#connections.list().slice(0, successorPeersMax).map(async ({ peer }) => {
      const connection = this.#connections.best(peer);
      const dialled = connection?.direct === true && connection.direction === "outbound" ? [connection.remoteAddr] : [];
      const known = connection === undefined
        ? []
        : await libp2p.peerStore.get(connection.remotePeer).then(({ addresses }) => addresses, () => []);
      const all = [...dialled, ...known.map(({ multiaddr }) => multiaddr)].filter(mayDial);
      const texts = all.map((address) => namingPeer(address.toString(), peer));
      return { peer, addresses: [...new Set(texts)].slice(0, successorAddressesMax) };
    });
    return (await Promise.all(named)).filter(({ addresses }) => addresses.length > 0);
  }

  #dial({ dialler }: Running, { id, target, replyTo }: Extract<TransportAsk, { type: "dial" }>): void {
    dialler.dial(target).then(
      ({ remotePeer }) => this.#outbox.answer(replyTo, { type: "dial.done", id, peer: remotePeer.toString() }),
      (error) => {
        const refusal = error instanceof DialFailed ? error.refusal : new Internal({ detail: String(error) });
        this.#outbox.answer(replyTo, { type: "dial.failed", id, refusal });
      },
    );
  }

  #serve({ requests, streams }: Running, protocol: Extract<TransportAsk, { type: "serve" }>["protocol"]): void {
    if (this.#served.has(protocol)) return;
    this.#served.add(protocol);
    const serving = isStreamProtocol(protocol) ? streams.serve(protocol) : requests.serve(protocol);
    serving.catch((error) => this.#failed(`cannot serve ${protocol}: ${error}`));
  }

  #unserve({ libp2p }: Running, protocol: Extract<TransportAsk, { type: "serve" }>["protocol"]): void {
    if (!this.#served.delete(protocol)) return;
    libp2p.unhandle(protocol).catch((error) => this.#failed(`cannot stop serving ${protocol}: ${error}`));
  }

  /** New handshakes use the new pair. Another key is another PeerID, which libp2p cannot take up while it runs. */
  #changeIdentity(identity: NodeIdentity): void {
    if (identity.peer !== this.#connections.identity.peer) {
      return this.#failed("another key needs another transport: its PeerID is fixed");
    }
    this.#connections.identityChanged(identity);
    const { drain, drainMs } = this.#input.rotation;
    if (drain !== "time" || this.#stopping !== undefined) return;
    const timer = setTimeout(() => {
      this.#drains.delete(timer);
      this.#connections.closeBefore(identity.generation, "its certificate was replaced");
    }, drainMs);
    this.#drains.add(timer);
  }

  #failed(detail: string): void {
    this.#outbox.tell({ type: "transport.failed", error: new TransportError({ code: "failed", detail }) });
  }

  /**
   * Ends every connection and stops libp2p. Calling it again waits for the same end, and may cut its grace short.
   *
   * @param graceMs How long connections with work on them may go on.
   */
  stop(reason: string, graceMs = 0): Promise<void> {
    this.#graceEndsAt = Math.min(this.#graceEndsAt, this.#input.now() + graceMs);
    this.#stopping ??= this.#stop(reason);
    return this.#stopping;
  }

  /** Ends idle connections, and looks again until none is left or the grace is over. */
  async #settle(reason: string): Promise<void> {
    while (this.#input.now() < this.#graceEndsAt) {
      const busy = this.#connections.closeIdle(
        ({ streams }) =>
          streams.some(({ protocol, status }) => !overStates.has(status) && workProtocols.test(protocol)),
        reason,
      );
      // What leaves with a connection's close takes its grace; only then libp2p may end it.
      if (busy === 0 && this.#connections.book.size === 0) return;
      if (busy === 0) this.#graceEndsAt = Math.min(this.#graceEndsAt, this.#input.now() + closeGraceMs);
      await new Promise((resolve) => setTimeout(resolve, settleLookMs));
    }
  }

  async #stop(reason: string): Promise<void> {
    const running = this.#running;
    for (const timer of this.#drains) clearTimeout(timer);
    running?.reachability.stop();
    if (running !== undefined) await this.#settle(reason);
    running?.requests.stop();
    running?.streams.stop();
    running?.records.stop();
    this.#connections.closeAll(reason);
    await running?.libp2p.stop();
  }
}
