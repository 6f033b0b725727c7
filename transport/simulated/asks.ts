/**
 * What a simulated node asks of its peers and is asked by them: exchanges, streams, gossip and records.
 *
 * @module
 */
import { Result } from "effect";
import type { PeerIdentity } from "../../pki/path.ts";
import type { Message, MessageProtocol } from "../protocols/messages.ts";
import {
  type PeerText,
  type RecordAnswer,
  type ReplyTo,
  type StreamAnswer,
  type StreamProtocol,
  type TransportAsk,
  TransportError,
  type TransportFact,
  type TransportInput,
} from "../port.ts";
import { MalformedRequests } from "../core/malformed_requests.ts";
import type { OpenFrame } from "./frames.ts";
import type { GatedLink, Links } from "./links.ts";
import { offeredStreamsMax, Places, requestsMax } from "./places.ts";
import { SimulatedStream } from "./streams.ts";
import type { SimulatedHost } from "./simulated.ts";

/** One exchange, in milliseconds (`docs/wire.md`, "Protocols"). */
const exchangeMaxMs = 10_000;
/** An offered stream that nobody takes is reset after this, in milliseconds. */
const streamAcceptMs = 10_000;
/** Messages of gossip that are remembered, so that each is heard once. */
const gossipSeenMax = 4_096;
/** Records kept for others, and how long, in milliseconds. */
const recordsMax = 1_024;
const recordLifeMs = 86_400_000;
/** How long a peer that left still counts as an author, and one that could not be verified is not tried again. */
const recentlyVerifiedMs = 600_000;
const verifyAgainMs = 10_000;
/** Peers that hold a record. */
const recordPeersMax = 20;

type Ask<T extends TransportAsk["type"]> = Extract<TransportAsk, { type: T }>;

/** What asks are made with. */
export interface AsksInit {
  readonly host: SimulatedHost;
  readonly input: TransportInput;
  readonly links: Links;
  readonly tell: (fact: TransportFact) => void;
  readonly answer: <A>(replyTo: ReplyTo<A>, answer: A) => void;
  /** A connection to a peer, dialled where there is none. */
  readonly connect: (peer: PeerText, then: (link: Result.Result<GatedLink, string>) => void) => void;
}

interface Asked {
  link: GatedLink | undefined;
  readonly end: (outcome: Result.Result<OpenFrame, TransportError>) => void;
}
interface Offered {
  readonly link: GatedLink;
  readonly stream: string;
  readonly timer: unknown;
  readonly leave: () => void;
}
interface Running {
  readonly link: GatedLink;
  readonly stream: SimulatedStream;
}
interface KeptRecord {
  readonly value: Uint8Array;
  readonly publisher: PeerText;
  readonly until: number;
}

/** All asks of one start of a transport. */
export class Asks {
  readonly #init: AsksInit;
  readonly #served = new Set<string>();
  readonly #topics = new Set<string>();
  /** By the number of the exchange, and by the asker's id. */
  readonly #asked = new Map<string, Asked>();
  readonly #byId = new Map<string, string>();
  readonly #exchanges = new Map<string, Offered>();
  readonly #malformed: MalformedRequests;
  readonly #offered = new Map<string, { readonly running: Running; readonly timer: unknown }>();
  readonly #streams = new Map<string, Running>();
  readonly #seen = new Map<string, true>();
  readonly #records = new Map<string, Map<PeerText, KeptRecord>>();
  readonly #recent = new Map<PeerText, number>();
  readonly #failed = new Map<PeerText, number>();
  readonly #places = new Places();
  #numbers = 0;

  constructor(init: AsksInit) {
    this.#malformed = new MalformedRequests(init.input.now);
    this.#init = init;
  }

  /** What is held open: for the invariant that nothing grows. */
  get size(): number {
    return this.#asked.size + this.#exchanges.size + this.#offered.size + this.#streams.size;
  }

  /** Whether an exchange or a stream is open on a connection. */
  isBusy(link: GatedLink): boolean {
    const held = [
      ...this.#asked.values(),
      ...this.#exchanges.values(),
      ...this.#streams.values(),
      ...[...this.#offered.values()].map(({ running }) => running),
    ];
    return held.some((one) => one.link === link);
  }

  serve(protocol: MessageProtocol | StreamProtocol): void {
    this.#served.add(protocol);
  }
  unserve(protocol: MessageProtocol | StreamProtocol): void {
    this.#served.delete(protocol);
  }
  subscribe(topic: string): void {
    this.#topics.add(topic);
  }
  unsubscribe(topic: string): void {
    this.#topics.delete(topic);
  }

  // ── Exchanges ──

  request({ id, peer, protocol, message, timeoutMs, replyTo }: Ask<"request">): void {
    const { answer } = this.#init;
    const failed = (error: TransportError) => answer(replyTo, { type: "request.failed", id, error });
    if (this.#byId.has(id)) {
      return failed(new TransportError({ code: "failed", detail: "there is a request with this id" }));
    }
    const stream = this.#number();
    this.#byId.set(id, stream);
    this.#await(
      peer,
      stream,
      timeoutMs,
      (link) => link.end.send({ type: "request", stream, protocol, message } as never),
      (outcome) => {
        this.#byId.delete(id);
        if (Result.isFailure(outcome)) return failed(outcome.failure);
        const frame = outcome.success;
        if (frame.type === "response" && frame.message !== undefined) {
          return answer(replyTo, { type: "response", id, message: frame.message });
        }
        failed(errorOf(frame));
      },
    );
  }

  cancel(id: string): void {
    const stream = this.#byId.get(id);
    if (stream === undefined) return;
    this.#asked.get(stream)?.end(
      Result.fail(new TransportError({ code: "cancelled", detail: "the asker gave it up" })),
    );
  }

  respond(exchange: string, message: Message): void {
    const offered = this.#takeExchange(exchange);
    this.#init.host.watchAnswer?.(message, this.#init.input.identity.peer);
    offered?.link.end.send({ type: "response", stream: offered.stream, message } as never);
  }

  decline(exchange: string, why: "silent" | "reset" = "silent"): void {
    const offered = this.#takeExchange(exchange);
    offered?.link.end.send({ type: "response.none", stream: offered.stream, why } as never);
  }

  #takeExchange(exchange: string): Offered | undefined {
    const offered = this.#exchanges.get(exchange);
    if (offered === undefined) return undefined;
    this.#exchanges.delete(exchange);
    this.#init.host.clock.cancel(offered.timer as never);
    offered.leave();
    return offered;
  }

  /** Sends something on a connection to a peer and waits for the frame that answers it. */
  #await(
    peer: PeerText,
    stream: string,
    timeoutMs: number,
    send: (link: GatedLink) => void,
    then: (outcome: Result.Result<OpenFrame, TransportError>) => void,
  ): void {
    const { host: { clock }, connect } = this.#init;
    let over = false;
    const end = (outcome: Result.Result<OpenFrame, TransportError>) => {
      if (over) return;
      over = true;
      clock.cancel(timer as never);
      this.#asked.delete(stream);
      then(outcome);
    };
    const late = () => new TransportError({ code: "timed-out", detail: `no answer after ${timeoutMs} ms` });
    const timer = clock.after(timeoutMs, () => end(Result.fail(late())));
    const asked: Asked = { link: undefined, end };
    this.#asked.set(stream, asked);
    connect(peer, (found) => {
      if (over) return;
      if (Result.isFailure(found)) {
        return end(Result.fail(new TransportError({ code: "not-connected", detail: found.failure })));
      }
      asked.link = found.success;
      send(found.success);
    });
  }

  // ── Streams ──

  openStream({ id, peer, protocol, timeoutMs, replyTo }: Ask<"stream.open">): void {
    const { answer } = this.#init;
    const stream = this.#number();
    const send = (link: GatedLink) => {
      this.#own(link, { stream, id, peer, protocol });
      link.end.send({ type: "stream.open", stream, protocol } as never);
    };
    this.#await(peer, stream, timeoutMs, send, (outcome) => {
      const running = this.#streams.get(stream);
      if (Result.isSuccess(outcome) && outcome.success.type === "stream.agreed" && running !== undefined) {
        return answer(replyTo, { type: "stream.opened", id, stream: running.stream.handle });
      }
      running?.stream.abort();
      const error = Result.isFailure(outcome) ? outcome.failure : errorOf(outcome.success);
      answer(replyTo, { type: "stream.failed", id, error });
    });
  }

  acceptStream(exchange: string, replyTo: ReplyTo<StreamAnswer>): void {
    const offered = this.#takeOffered(exchange);
    if (offered !== undefined) {
      return this.#init.answer(replyTo, { type: "stream.opened", id: exchange, stream: offered.stream.handle });
    }
    const error = new TransportError({ code: "timed-out", detail: "the offered stream is gone" });
    this.#init.answer(replyTo, { type: "stream.failed", id: exchange, error });
  }

  rejectStream(exchange: string): void {
    this.#takeOffered(exchange)?.stream.abort();
  }

  #takeOffered(exchange: string): Running | undefined {
    const offered = this.#offered.get(exchange);
    if (offered === undefined) return undefined;
    this.#offered.delete(exchange);
    this.#init.host.clock.cancel(offered.timer as never);
    return offered.running;
  }

  #own(
    link: GatedLink,
    about: { readonly stream: string; readonly id: string; readonly peer: PeerText; readonly protocol: StreamProtocol },
    leave?: () => void,
  ): Running {
    const { host: { clock } } = this.#init;
    const { stream: number, id, peer, protocol } = about;
    const stream = new SimulatedStream({
      id,
      peer,
      protocol,
      time: { after: (delayMs, task) => clock.after(delayMs, task), cancel: (timer) => clock.cancel(timer as never) },
      send: (frame) =>
        link.end.send({ ...frame, stream: number, ...("bytes" in frame ? { size: frame.bytes.length } : {}) } as never),
      onOver: () => {
        this.#streams.delete(number);
        this.#takeOffered(id);
        leave?.();
      },
    });
    const running = { link, stream };
    this.#streams.set(number, running);
    return running;
  }

  // ── Gossip ──

  publish({ id, topic, message, replyTo }: Ask<"publish">): void {
    const { host, input, links, answer } = this.#init;
    const gossip = { type: "gossip", id: input.uuid(), topic, from: host.peer, message } as const;
    this.#remember(gossip.id);
    let heard = 0;
    for (const [, link] of links.each()) {
      heard += 1;
      link.end.send(gossip);
    }
    if (heard > 0) return answer(replyTo, { type: "publish.done", id });
    const error = new TransportError({ code: "not-connected", detail: "NoPeersSubscribedToTopic" });
    answer(replyTo, { type: "publish.failed", id, error });
  }

  #gossip(link: GatedLink, via: PeerText, frame: Extract<OpenFrame, { type: "gossip" }>): void {
    const { host, tell, links } = this.#init;
    if (this.#seen.has(frame.id) || !this.#topics.has(frame.topic) || frame.from === host.peer) return;
    this.#remember(frame.id);
    this.#verify(frame.from, (counts) => {
      if (!counts || !this.#topics.has(frame.topic)) return;
      tell({ type: "published", topic: frame.topic, from: frame.from, via, message: frame.message });
      for (const [peer, other] of links.each()) {
        if (other !== link && peer !== frame.from) other.end.send(frame);
      }
    });
  }

  #remember(id: string): void {
    this.#seen.set(id, true);
    if (this.#seen.size <= gossipSeenMax) return;
    for (const oldest of this.#seen.keys()) {
      this.#seen.delete(oldest);
      return;
    }
  }

  /** Whether an author counts: established here, or lately, under the same trust; a stranger is dialled. */
  #verify(peer: PeerText, then: (counts: boolean) => void): void {
    const { links, input, connect } = this.#init;
    if (links.identityOf(peer) !== undefined) return then(true);
    const seenAt = this.#recent.get(peer);
    if (seenAt !== undefined && input.now() - seenAt < recentlyVerifiedMs) return then(true);
    const failedAt = this.#failed.get(peer);
    if (failedAt !== undefined && input.now() - failedAt < verifyAgainMs) return then(false);
    connect(peer, (found) => {
      if (Result.isFailure(found)) this.#failed.set(peer, input.now());
      then(Result.isSuccess(found));
    });
  }

  seen(peer: PeerText): void {
    this.#failed.delete(peer);
    this.#recent.set(peer, this.#init.input.now());
  }

  /** Whoever is not connected, and so not checked again, has to be verified anew. */
  trustChanged(): void {
    this.#recent.clear();
    this.#failed.clear();
  }

  // ── Records ──

  putRecord({ id, key, value, timeoutMs, replyTo }: Ask<"record.put">): void {
    const { host, answer } = this.#init;
    this.#keep(key, value, host.peer);
    const frame = (stream: string) => ({ type: "record.put", stream, key, value, publisher: host.peer }) as const;
    this.#askAll(timeoutMs, frame, (answers) => {
      if (answers.length > 0) return answer<RecordAnswer>(replyTo, { type: "record.stored", id });
      const error = new TransportError({ code: "not-connected", detail: "no peer took the record" });
      answer<RecordAnswer>(replyTo, { type: "record.failed", id, error });
    });
  }

  getRecord({ id, key, timeoutMs, replyTo }: Ask<"record.get">): void {
    const { answer } = this.#init;
    const own = [...this.#records.get(key)?.values() ?? []];
    this.#askAll(timeoutMs, (stream) => ({ type: "record.get", stream, key }) as const, (answers) => {
      if (answers.length === 0 && own.length === 0) {
        const error = new TransportError({ code: "not-connected", detail: "no peer to ask" });
        return answer<RecordAnswer>(replyTo, { type: "record.failed", id, error });
      }
      const found = [...own, ...answers.map((frame) => frame.type === "record.found" ? frame.record : undefined)]
        .filter((record) => record !== undefined);
      this.#firstVerified(found, (record) =>
        answer<RecordAnswer>(
          replyTo,
          record === undefined
            ? { type: "record.missing", id }
            : { type: "record", id, key, value: record.value, publisher: record.publisher },
        ));
    });
  }

  #firstVerified<R extends { readonly publisher: PeerText }>(
    records: readonly R[],
    then: (record: R | undefined) => void,
  ): void {
    const [first, ...rest] = records;
    if (first === undefined || first.publisher === this.#init.host.peer) return then(first);
    this.#verify(first.publisher, (counts) => counts ? then(first) : this.#firstVerified(rest, then));
  }

  #keep(key: string, value: Uint8Array, publisher: PeerText): void {
    const kept = this.#records.get(key) ?? new Map<PeerText, KeptRecord>();
    if (!this.#records.has(key) && this.#records.size >= recordsMax) return;
    this.#records.set(key, kept.set(publisher, { value, publisher, until: this.#init.input.now() + recordLifeMs }));
  }

  #askAll(
    timeoutMs: number,
    frame: (stream: string) => OpenFrame,
    then: (answers: readonly OpenFrame[]) => void,
  ): void {
    const { links, host: { clock } } = this.#init;
    const peers = [...links.each()].slice(0, recordPeersMax).map(([peer]) => peer);
    const answers: OpenFrame[] = [];
    let left = peers.length;
    if (left === 0) return void clock.after(0, () => then([]));
    for (const peer of peers) {
      const stream = this.#number();
      this.#await(peer, stream, timeoutMs, (link) => link.end.send(frame(stream)), (outcome) => {
        if (Result.isSuccess(outcome)) answers.push(outcome.success);
        left -= 1;
        if (left === 0) then(answers);
      });
    }
  }

  // ── What arrives ──

  heard(link: GatedLink, peer: PeerText, identity: PeerIdentity, frame: OpenFrame): void {
    switch (frame.type) {
      case "request":
        return this.#requested(link, peer, identity, frame);
      case "stream.open":
        return this.#streamOffered(link, peer, identity, frame);
      case "stream.data":
      case "stream.taken":
      case "stream.end":
        return this.#streams.get(frame.stream)?.stream.hear(frame);
      case "stream.reset":
        this.#asked.get(frame.stream)?.end(Result.succeed(frame));
        return this.#streams.get(frame.stream)?.stream.hear({ type: "stream.reset" });
      case "gossip":
        return this.#gossip(link, peer, frame);
      case "record.put":
        if (frame.publisher === peer) this.#keep(frame.key, frame.value, frame.publisher);
        return link.end.send({ type: "record.kept", stream: frame.stream } as never);
      case "record.get": {
        const now = this.#init.input.now();
        const record = [...this.#records.get(frame.key)?.values() ?? []].find(({ until }) => until > now);
        return link.end.send({ type: "record.found", stream: frame.stream, record } as never);
      }
      default:
        this.#asked.get(frame.stream)?.end(Result.succeed(frame));
    }
  }

  #requested(
    link: GatedLink,
    peer: PeerText,
    identity: PeerIdentity,
    { stream, protocol, message }: Extract<OpenFrame, { type: "request" }>,
  ): void {
    const none = (why: "silent" | "unsupported" | "reset") =>
      link.end.send({ type: "response.none", stream, why } as never);
    if (!this.#served.has(protocol)) return none("unsupported");
    if (message === undefined) {
      const untold = this.#malformed.note(peer, protocol);
      const detail = "it does not decode";
      if (untold !== undefined) {
        this.#init.tell({ type: "request.malformed", peer, identity, protocol, detail, untold });
      }
      return none("silent");
    }
    const leave = this.#exchanges.size < requestsMax ? this.#places.take(link, protocol) : undefined;
    if (leave === undefined) return none("reset");
    const exchange = this.#init.input.uuid();
    const timer = this.#init.host.clock.after(exchangeMaxMs, () => this.decline(exchange, "reset"));
    this.#exchanges.set(exchange, { link, stream, timer, leave });
    this.#init.tell({ type: "request.received", exchange, peer, identity, protocol, message });
  }

  #streamOffered(
    link: GatedLink,
    peer: PeerText,
    identity: PeerIdentity,
    { stream, protocol }: Extract<OpenFrame, { type: "stream.open" }>,
  ): void {
    if (!this.#served.has(protocol)) {
      return link.end.send({ type: "stream.reset", stream, why: "unsupported" } as never);
    }
    const leave = this.#offered.size < offeredStreamsMax ? this.#places.take(link, protocol) : undefined;
    if (leave === undefined) return link.end.send({ type: "stream.reset", stream, why: "reset" } as never);
    const exchange = this.#init.input.uuid();
    const running = this.#own(link, { stream, id: exchange, peer, protocol }, leave);
    const timer = this.#init.host.clock.after(streamAcceptMs, () => this.rejectStream(exchange));
    this.#offered.set(exchange, { running, timer });
    link.end.send({ type: "stream.agreed", stream } as never);
    this.#init.tell({ type: "stream.received", exchange, peer, identity, protocol });
  }

  /** A connection ended: what was under way on it ends with it. */
  linkClosed(link: GatedLink): void {
    const gone = () => new TransportError({ code: "stream-reset", detail: "the connection ended" });
    for (const asked of [...this.#asked.values()]) if (asked.link === link) asked.end(Result.fail(gone()));
    for (const { link: of, stream } of [...this.#streams.values()]) if (of === link) stream.lose();
    for (const [exchange, offered] of [...this.#exchanges]) if (offered.link === link) this.#takeExchange(exchange);
  }

  stop(): void {
    const stopped = new TransportError({ code: "stopped", detail: "the transport stops" });
    for (const asked of [...this.#asked.values()]) asked.end(Result.fail(stopped));
    for (const { stream } of [...this.#streams.values()]) stream.abort();
    for (const exchange of [...this.#exchanges.keys()]) this.decline(exchange, "reset");
  }

  #number(): string {
    this.#numbers += 1;
    return `${this.#init.host.name}/${this.#numbers}`;
  }
}

/** What an answer that is none amounts to. */
function errorOf(frame: OpenFrame): TransportError {
  if (frame.type === "response" || frame.type === "response.none" && frame.why === "silent") {
    return new TransportError({ code: "no-answer", detail: "the peer ended silently" });
  }
  const unsupported = (frame.type === "response.none" || frame.type === "stream.reset") && frame.why === "unsupported";
  return unsupported
    ? new TransportError({ code: "unsupported", detail: "the peer does not speak this protocol" })
    : new TransportError({ code: "stream-reset", detail: "the peer reset the stream" });
}
