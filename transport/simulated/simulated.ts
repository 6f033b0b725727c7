/**
 * The transport actor over a virtual network: speaks `port.ts` as the real one does, with the same gates, on virtual time.
 *
 * Left out on purpose: relay circuits (every node can be dialled at its address), NAT, hole punching, libp2p's own dials.
 *
 * @module
 */
import { Result } from "effect";
import { type CallbackActorLogic, fromCallback } from "xstate";
import { Internal, type Refusal, Unreachable } from "../../pki/refusal.ts";
import {
  type AddressText,
  type NodeIdentity,
  type PeerText,
  type ReplyTo,
  type TransportAsk,
  TransportError,
  type TransportFact,
  type TransportInput,
} from "../port.ts";
import type { Message } from "../protocols/messages.ts";
import { Asks } from "./asks.ts";
import { type GatedLink, Links } from "./links.ts";
import type { VirtualNetwork } from "./network.ts";

/** Timers that end with the process they belong to. */
export interface HostClock {
  after(delayMs: number, task: () => void): unknown;
  cancel(timer: never): void;
}

/** Where peers are found: what the DHT knows. */
export interface AddressBook {
  announce(peer: PeerText, address: AddressText): void;
  find(peer: PeerText): AddressText | undefined;
}

/** A process on the virtual network. */
export interface SimulatedHost {
  readonly name: string;
  readonly network: VirtualNetwork;
  readonly clock: HostClock;
  readonly book: AddressBook;
  /** Where it dials from and listens, without the PeerID. */
  readonly address: AddressText;
  /** Its PeerID, from its identity. */
  peer: PeerText;
  stopped: boolean;
  /** Sees what goes above the gates, when it is delivered here. */
  readonly watch?: (link: GatedLink, frame: { readonly type: string }) => void;
  /** Sees what is answered here, and what is told to the node. */
  readonly watchAnswer?: (message: Message, as: PeerText) => void;
  readonly watchFact?: (fact: TransportFact) => void;
  /** The session, once started: for whoever checks that nothing grows. */
  session?: SimulatedSession | undefined;
  /** All that run: a process whose key was replaced has that of the former key too. */
  readonly sessions?: Set<SimulatedSession>;
}

/** An address book that everybody knows. */
export function makeAddressBook(): AddressBook {
  const book = new Map<PeerText, AddressText>();
  return {
    announce: (peer, address) => void book.set(peer, address),
    find: (peer) => book.get(peer),
  };
}

/** The transport logic of one process. */
export function makeSimulatedTransport(host: SimulatedHost): CallbackActorLogic<TransportAsk, TransportInput> {
  return fromCallback<TransportAsk, TransportInput>(({ input, receive, sendBack }) => {
    const session = new SimulatedSession(host, input, sendBack);
    host.session = session;
    host.sessions?.add(session);
    receive((ask) => session.hear(ask));
    return () => {
      host.sessions?.delete(session);
      session.stop();
    };
  });
}

type RunningAsk = Exclude<TransportAsk, { type: "start" | "drain" | "trust.changed" }>;

/** How often connections that are let finish are looked at, in milliseconds, and what is still done meanwhile. */
const settleLookMs = 50;
const finishing: ReadonlySet<TransportAsk["type"]> = new Set([
  "respond",
  "decline",
  "stream.reject",
  "counters",
  "peers",
]);

/** A transport from its birth to its end. */
export class SimulatedSession {
  readonly #host: SimulatedHost;
  readonly #input: TransportInput;
  /** Where facts go: the parent, or who hears of a transport that retired. */
  #sendBack: (fact: TransportFact) => void;
  readonly links: Links;
  readonly asks: Asks;
  #identity: NodeIdentity;
  #snapshot: TransportInput["snapshot"];
  #phase: "idle" | "started" | "draining" | "stopped" = "idle";
  #graceEndsAt = Number.POSITIVE_INFINITY;
  #silent = false;
  #isReachable = false;
  #isDhtReady = false;
  readonly #dials = new Map<PeerText, ((link: Result.Result<GatedLink, string>) => void)[]>();

  constructor(host: SimulatedHost, input: TransportInput, sendBack: (fact: TransportFact) => void) {
    this.#host = host;
    this.#input = input;
    this.#sendBack = sendBack;
    this.#identity = input.identity;
    this.#snapshot = input.snapshot;
    host.peer = input.identity.peer;
    const tell = (fact: TransportFact) => this.#tell(fact);
    this.links = new Links({
      host,
      input,
      identity: () => this.#identity,
      snapshot: () => this.#snapshot,
      isOver: () => this.#phase === "stopped",
      tell,
      opened: (link, peer) => this.#opened(link, peer),
      closed: (link, peer) => this.#closed(link, peer),
      heard: (link, peer, identity, frame) => {
        host.watch?.(link, frame);
        this.asks.heard(link, peer, identity, frame);
      },
    });
    this.asks = new Asks({
      host,
      input,
      links: this.links,
      tell,
      answer: (replyTo, answer) => this.#answer(replyTo, answer),
      connect: (peer, then) => this.#connect(peer, then),
    });
  }

  /** What is open, by kind; a verification is a dial here. */
  get open(): Readonly<Record<"exchanges" | "streams" | "dials" | "verifications" | "halfOpen", number>> {
    return { ...this.asks.open, ...this.links.open, verifications: this.#dials.size };
  }

  /** Each in a turn of its own: an answer is never delivered inside the send that asked. */
  #tell(fact: TransportFact): void {
    this.#host.clock.after(0, () => {
      if (this.#silent) return;
      this.#host.watchFact?.(fact);
      this.#sendBack(fact);
    });
  }

  #answer<A>(replyTo: ReplyTo<A>, answer: A): void {
    this.#host.clock.after(0, () => {
      if (!this.#silent) replyTo.send(answer);
    });
  }

  hear(ask: TransportAsk): void {
    if (ask.type === "start") return this.#start(ask);
    if (ask.type === "trust.changed") {
      this.#snapshot = ask.snapshot;
      this.asks.trustChanged();
      return this.links.trustChanged(ask.snapshot);
    }
    if (ask.type === "drain" && (this.#phase === "started" || this.#phase === "draining")) return this.#drain(ask);
    if (this.#phase !== "started" && !(this.#phase === "draining" && finishing.has(ask.type))) return this.#refuse(ask);
    this.#do(ask as RunningAsk);
  }

  #start(ask: Extract<TransportAsk, { type: "start" }>): void {
    const { network, address, book, peer, name } = this.#host;
    if (this.#phase !== "idle") {
      const error = new TransportError({ code: "failed", detail: "it was started before" });
      return this.#answer(ask.replyTo, { type: "transport.failed", error });
    }
    this.#phase = "started";
    network.listen(address, this.#listener = { host: name, accept: (end, from) => this.links.accept(end, from) });
    book.announce(peer, address);
    this.#answer(ask.replyTo, { type: "listening", addresses: [`${address}/p2p/${peer}`], bound: [address], left: [] });
    if (this.#input.relay !== "client") this.#becomeReachable();
    if (this.#input.role === "gateway") this.#becomeDhtReady();
  }

  #listener: Parameters<VirtualNetwork["listen"]>[1] | undefined;

  #retire({ replyTo, factsTo }: Extract<TransportAsk, { type: "retire" }>): void {
    this.#sendBack = (fact) => factsTo.send(fact);
    this.stopListening();
    const peers = this.links.list().flatMap(({ peer }) => {
      const address = this.#host.book.find(peer);
      return address === undefined ? [] : [{ peer, addresses: [`${address}/p2p/${peer}`] }];
    });
    this.#answer(replyTo, { type: "retired", listenAddresses: this.#input.listenAddresses, peers });
  }

  #drain({ replyTo, graceMs }: Extract<TransportAsk, { type: "drain" }>): void {
    const { clock, network } = this.#host;
    this.#graceEndsAt = Math.min(this.#graceEndsAt, network.time.now + (graceMs ?? 0));
    this.#phase = "draining";
    this.stopListening();
    const settle = () => {
      const busy = network.time.now < this.#graceEndsAt &&
        this.links.closeIdle((link) => this.asks.isBusy(link), "the node drains") > 0;
      if (busy && !this.#silent) return void clock.after(settleLookMs, settle);
      this.asks.stop();
      this.links.closeAll("the node drains");
      this.#phase = "stopped";
      this.#answer(replyTo, { type: "drained" });
    };
    settle();
  }

  #do(ask: RunningAsk): void {
    const { asks, links } = this;
    switch (ask.type) {
      case "retire":
        return this.#retire(ask);
      case "peers":
        return this.#answer(ask.replyTo, { type: "peers", list: links.list() });
      case "counters":
        return this.#answer(ask.replyTo, {
          type: "counters",
          counters: { accepted: links.accepted, bytesReceived: 0, bytesSent: 0 },
        });
      case "dial":
        return this.#dial(ask);
      case "close":
        return links.close(ask.peer, ask.reason);
      case "identity.changed":
        return this.#changeIdentity(ask.identity);
      case "serve":
        return asks.serve(ask.protocol);
      case "unserve":
        return asks.unserve(ask.protocol);
      case "request":
        return asks.request(ask);
      case "request.cancel":
        return asks.cancel(ask.id);
      case "respond":
        return asks.respond(ask.exchange, ask.message);
      case "decline":
        return asks.decline(ask.exchange);
      case "subscribe":
        return asks.subscribe(ask.topic);
      case "unsubscribe":
        return asks.unsubscribe(ask.topic);
      case "publish":
        return asks.publish(ask);
      case "record.put":
        return asks.putRecord(ask);
      case "record.get":
        return asks.getRecord(ask);
      case "stream.open":
        return asks.openStream(ask);
      case "stream.accept":
        return asks.acceptStream(ask.exchange, ask.replyTo);
      case "stream.reject":
        return asks.rejectStream(ask.exchange);
    }
  }

  #dial({ id, target, replyTo }: Extract<TransportAsk, { type: "dial" }>): void {
    const done = (peer: PeerText) => this.#answer(replyTo, { type: "dial.done", id, peer });
    const failed = (refusal: Refusal) => this.#answer(replyTo, { type: "dial.failed", id, refusal });
    const settle = (outcome: Result.Result<PeerText, Refusal>) =>
      Result.isSuccess(outcome) ? done(outcome.success) : failed(outcome.failure);
    if ("peer" in target) {
      if (this.links.identityOf(target.peer) !== undefined) return done(target.peer);
      const address = this.#host.book.find(target.peer);
      if (address === undefined) return failed(new Unreachable({ detail: "no address of this peer is known" }));
      return this.links.dial(address, target.peer, settle);
    }
    const [address = "", named] = target.address.split("/p2p/");
    if (named !== undefined && this.links.identityOf(named) !== undefined) return done(named);
    const there = this.links.at(address);
    if (there !== undefined && named === undefined) return done(there.peer);
    this.links.dial(address, named, settle);
  }

  /** Several askers share one dial. */
  #connect(peer: PeerText, then: (link: Result.Result<GatedLink, string>) => void): void {
    const best = this.links.best(peer);
    if (best !== undefined) return then(Result.succeed(best));
    const waiting = this.#dials.get(peer);
    if (waiting !== undefined) return void waiting.push(then);
    const address = this.#host.book.find(peer);
    if (address === undefined) return then(Result.fail("no address of this peer is known"));
    this.#dials.set(peer, [then]);
    this.links.dial(address, peer, (outcome) => {
      const link = this.links.best(peer);
      const told = this.#dials.get(peer) ?? [];
      this.#dials.delete(peer);
      const why = Result.isFailure(outcome) ? outcome.failure.message : "the connection ended as soon as it was open";
      for (const tell of told) tell(link === undefined ? Result.fail(why) : Result.succeed(link));
    });
  }

  #opened(link: GatedLink, peer: PeerText): void {
    this.asks.seen(peer);
    const isGateway = this.#input.gatewayAddresses.some((address) => address.split("/p2p/")[0] === link.address);
    if (this.#input.relay === "client" && isGateway) this.#becomeReachable();
    this.#becomeDhtReady();
  }

  #closed(link: GatedLink, peer: PeerText): void {
    this.asks.linkClosed(link);
    const isGateway = this.#input.gatewayAddresses.some((address) => address.split("/p2p/")[0] === link.address);
    if (this.#input.relay === "client" && isGateway && !this.#silent) {
      this.#tell({ type: "reservation.lost", relay: peer });
    }
  }

  #becomeReachable(): void {
    if (this.#isReachable) return;
    this.#isReachable = true;
    this.#tell({ type: "reachable", addresses: [`${this.#host.address}/p2p/${this.#host.peer}`] });
  }

  #becomeDhtReady(): void {
    if (this.#isDhtReady) return;
    this.#isDhtReady = true;
    this.#tell({ type: "dht.ready" });
  }

  #changeIdentity(identity: NodeIdentity): void {
    if (identity.peer === this.#identity.peer) {
      this.#identity = identity;
      const { drain, drainMs } = this.#input.rotation;
      if (drain === "expiry") return;
      this.#host.clock.after(drainMs, () => {
        if (!this.#silent) this.links.closeBefore(identity.generation, "its certificate was replaced");
      });
      return;
    }
    const detail = "another key needs another transport: its PeerID is fixed";
    this.#tell({ type: "transport.failed", error: new TransportError({ code: "failed", detail }) });
  }

  /** Answers what cannot be done because there is no running session. */
  #refuse(ask: TransportAsk): void {
    const detail = this.#phase === "stopped" || this.#phase === "draining"
      ? "the transport was drained"
      : "the transport was not started";
    const error = new TransportError({ code: "stopped", detail });
    switch (ask.type) {
      case "drain":
        return this.#answer(ask.replyTo, { type: "drained" });
      case "retire":
        this.#sendBack = (fact) => ask.factsTo.send(fact);
        return this.#answer(ask.replyTo, {
          type: "retired",
          listenAddresses: this.#input.listenAddresses,
          peers: [],
        });
      case "peers":
        return this.#answer(ask.replyTo, { type: "peers", list: [] });
      case "counters":
        return this.#answer(ask.replyTo, {
          type: "counters",
          counters: { accepted: this.links.accepted, bytesReceived: 0, bytesSent: 0 },
        });
      case "dial":
        return this.#answer(ask.replyTo, { type: "dial.failed", id: ask.id, refusal: new Internal({ detail }) });
      case "request":
        return this.#answer(ask.replyTo, { type: "request.failed", id: ask.id, error });
      case "publish":
        return this.#answer(ask.replyTo, { type: "publish.failed", id: ask.id, error });
      case "record.put":
      case "record.get":
        return this.#answer(ask.replyTo, { type: "record.failed", id: ask.id, error });
      case "stream.open":
        return this.#answer(ask.replyTo, { type: "stream.failed", id: ask.id, error });
      case "stream.accept":
        return this.#answer(ask.replyTo, { type: "stream.failed", id: ask.exchange, error });
      case "identity.changed":
        this.#identity = ask.identity;
        return;
      default:
        return;
    }
  }

  stopListening(): void {
    if (this.#listener !== undefined) this.#host.network.unlisten(this.#host.address, this.#listener);
  }

  stop(): void {
    this.#silent = true;
    this.#phase = "stopped";
    this.stopListening();
    this.asks.stop();
    this.links.closeAll("the node stopped");
  }
}
