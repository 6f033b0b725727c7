/**
 * Members that forge: they publish records under other names, take over the key of a data set, answer look-ups with forged
 * records of a stranger, of the true publisher and of themselves, and hand on gossip of authors that are not, or no longer, allowed.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { peerIdFromString } from "@libp2p/peer-id";
import { Result } from "effect";
import { base58btc } from "multiformats/bases/base58";
import { MessageReader, prefixLength } from "../../transport/core/length_prefixed.ts";
import { kadProtocol, type StreamListener, type WireConnection, type WireStream } from "../../transport/core/wire.ts";
import type { PeerText } from "../../transport/port.ts";
import {
  decodeKadMessage,
  encodeKadMessage,
  type KadMessage,
  kadMessageMaxBytes,
  type KadRecord,
} from "../../transport/protocols/kad_record.ts";
import { workerTopic } from "../../transport/protocols/messages.ts";
import { encodeWorkerRequest } from "../../transport/protocols/mod.ts";
import { randomOf } from "../runtime/random.ts";
import { type Credential, peerOfCredential } from "./authority.ts";
import type { Bites } from "./bites.ts";
import { forgedSlices } from "./check_members.ts";
import type { Checker } from "./checker.ts";
import { type HostileMember, requestForWorkers } from "./hostile_member.ts";
import type { SimulatedNode } from "./node.ts";
import type { Simulation } from "./simulation.ts";

/** The key of the run's data set, and one without an honest publisher. */
const datasetKey = new TextEncoder().encode("digits");
const freshKey = new TextEncoder().encode("forged");
const forged = Uint8Array.of(0xf0, 0x0d);
/** It decodes: what does not is found out by itself. No data set of a run has so many slices. */
const liarsValue = new TextEncoder().encode(`{"num_slices":${forgedSlices}}`);
/** The author that will be revoked is connected for this long, in milliseconds: then it was verified a short while ago. */
const authorStaysMs = 1_200;
/** Forgers leave after this, in milliseconds. */
const stayMs = 20_000;

/** What forgers are made with. */
export interface ForgerInit {
  readonly sim: Simulation;
  readonly checker: Checker;
  readonly credentials: ReadonlyMap<string, Credential>;
  readonly bites: Bites;
  /** Makes a member that listens, and takes part in the DHT. */
  readonly member: (name: string) => HostileMember | undefined;
}

/** Three members that forge, and an author that is revoked. */
export class Forger {
  readonly #init: ForgerInit;

  constructor(init: ForgerInit) {
    this.#init = init;
  }

  begin(node: SimulatedNode): void {
    const { sim, member, credentials } = this.#init;
    const forgers = [1, 2, 3].map((nth) => member(`forger/${nth}`)).filter((forger) => forger !== undefined);
    const stranger = credentials.get("forger/stranger");
    const gone = member("forger/gone");
    const [first] = forgers;
    if (first === undefined || stranger === undefined || gone === undefined) return;
    // Of some seeds all name the true publisher with another value; else one does, one names a stranger, one itself: a worker.
    const areAgreed = randomOf(sim.seed, "forger/lies").chance(0.5);
    const data = () => [...sim.nodes.values()].find(({ role }) => role === "data")?.peer;
    const publishers = areAgreed ? [data, data, data] : [() => undefined, data, () => forgers[2]?.peer];
    forgers.forEach((forger, at) => this.#answerFor(forger, () => publishers[at]?.() ?? peerOfCredential(stranger)));
    this.#publish(node, { gone, forger: first, stranger: peerOfCredential(stranger) });
    const others = [...sim.nodes.values()].filter(({ role }) => role === "gateway" || role === "scheduler");
    for (const other of others) {
      for (const forger of forgers) {
        // A data node that connects makes a scheduler look its data set up.
        if (forger !== first || other.role === "gateway") forger.dial(other.address);
      }
      if (other.role === "gateway") first.dial(other.address, (connection) => this.#takeOver(other, first, connection));
      else sim.after(1_500, () => first.dial(other.address));
    }
    sim.after(stayMs, () => [...forgers, gone].forEach((each) => each.stop()));
  }

  // ── Records ──

  /** Puts records under another's key, and in another's name, and looks at what the node found of it. */
  #takeOver(node: SimulatedNode, forger: HostileMember, connection: WireConnection): void {
    const { sim, checker, bites } = this.#init;
    const owner = [...sim.nodes.values()].find(({ role }) => role === "data")?.peer ?? "";
    if (owner !== "") {
      this.#ask(forger, connection, put({ key: freshKey, value: forged, publisher: multihashOf(owner) }));
    }
    sim.after(600, () =>
      this.#ask(forger, connection, get(freshKey), (record) => {
        if (record !== undefined) checker.violate("record-owner", node.name, "kept a record in another's name");
      }));
    const own = multihashOf(forger.peer);
    this.#ask(forger, connection, get(datasetKey), (before) => {
      // The first publisher of a key may have it.
      if (before === undefined || peerOf(before) === forger.peer) return;
      bites.note("forger");
      this.#ask(
        forger,
        connection,
        put({ key: datasetKey, value: before.value, publisher: own }),
        () =>
          this.#ask(forger, connection, get(datasetKey), (after) => {
            if (after === undefined || peerOf(after) !== forger.peer) return;
            checker.violate("record-owner", node.name, "gave the key of a data set to another owner");
          }),
      );
    });
  }

  /** One message to a node; `done` receives the record of its answer. */
  #ask(
    { hostile }: HostileMember,
    connection: WireConnection,
    message: KadMessage,
    done: (record: KadRecord | undefined) => void = () => {},
  ): void {
    if (!connection.isOpen) return;
    hostile.exchange(connection, kadProtocol, prefixLength(encodeKadMessage(message)), ({ bytes }) => {
      done(messageIn(bytes)?.record);
    });
  }

  /** Answers every look-up with a forged record of a publisher. */
  #answerFor({ hostile }: HostileMember, publisher: () => PeerText): void {
    hostile.wire.serve(kadProtocol);
    hostile.onOffered = (_, stream) => {
      if (stream.protocol !== kadProtocol) return undefined;
      return answering(stream, ({ type, key }) => {
        if (type !== "GET_VALUE" || key === undefined) return undefined;
        this.#init.bites.note("forger");
        const record = { key, value: liarsValue, publisher: multihashOf(publisher()) };
        return { type, key, record, closer: [], providers: [] };
      });
    };
  }

  // ── Gossip ──

  /** The author publishes, leaves, and is revoked; another member hands on messages of it, and of a stranger. */
  #publish(
    node: SimulatedNode,
    { gone, forger, stranger }: {
      readonly gone: HostileMember;
      readonly forger: HostileMember;
      readonly stranger: PeerText;
    },
  ): void {
    const { sim } = this.#init;
    const { uuid } = randomOf(sim.seed, `forger/${node.name}/${sim.now}`);
    gone.dial(node.address);
    sim.after(authorStaysMs, () => gone.hostile.leave());
    let way: WireConnection | undefined;
    forger.dial(node.address, (connection) => way = connection);
    for (let at = 2_000; at < stayMs; at += 1_000) {
      sim.after(at, () => {
        if (way?.isOpen !== true) return;
        for (const author of [gone.peer, stranger]) {
          const bytes = encodeWorkerRequest(requestForWorkers(uuid(), sim.time.now));
          forger.gossip(way, workerTopic, { author, bytes });
        }
      });
    }
  }
}

function put(record: KadRecord): KadMessage {
  return { type: "PUT_VALUE", key: record.key, record, closer: [], providers: [] };
}

function get(key: Uint8Array): KadMessage {
  return { type: "GET_VALUE", key, closer: [], providers: [] };
}

function messageIn(bytes: Uint8Array): KadMessage | undefined {
  const reader = new MessageReader(kadMessageMaxBytes);
  reader.append(bytes);
  const message = reader.next();
  return message instanceof Uint8Array ? Result.getOrUndefined(decodeKadMessage(message)) : undefined;
}

/** Reads one message and answers it; what gets no answer is ended. */
function answering(stream: WireStream, answer: (message: KadMessage) => KadMessage | undefined): StreamListener {
  const chunks: Uint8Array[] = [];
  let isAnswered = false;
  return {
    data: (bytes) => {
      if (isAnswered) return;
      chunks.push(bytes);
      const message = messageIn(Buffer.concat(chunks));
      if (message === undefined) return;
      isAnswered = true;
      const reply = answer(message);
      stream.end(reply === undefined ? undefined : prefixLength(encodeKadMessage(reply)));
    },
    ended: () => {},
    closed: () => {},
  };
}

const multihashOf = (peer: PeerText): Uint8Array => peerIdFromString(peer).toMultihash().bytes;

function peerOf({ publisher }: KadRecord): PeerText | undefined {
  if (publisher === undefined) return undefined;
  return base58btc.baseEncode(publisher);
}
