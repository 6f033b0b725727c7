/**
 * Members that forge: they publish records under other names, take over the key of a data set, answer look-ups with forged
 * records of a stranger, of the true publisher and of themselves, and hand on gossip of authors that are not, or no longer, allowed.
 *
 * @module
 */
import { kadProtocol, type WireConnection } from "../../transport/core/wire.ts";
import type { PeerText } from "../../transport/port.ts";
import { workerTopic } from "../../transport/protocols/messages.ts";
import { encodeWorkerRequest } from "../../transport/protocols/mod.ts";
import { randomOf } from "../runtime/random.ts";
import { type Credential, peerOfCredential } from "./authority.ts";
import type { Bites } from "./bites.ts";
import type { Checker } from "./checker.ts";
import { answering, askForRecord, datasetKey, get, liarsValue, multihashOf, peerOf, put } from "./forged_records.ts";
import { type HostileMember, requestForWorkers } from "./hostile_member.ts";
import type { SimulatedNode } from "./node.ts";
import type { Oracle } from "./oracle.ts";
import type { Simulation } from "./simulation.ts";

/** Members that forge: one, a few, or more than there are gateways. */
export const liarsMax = 10;
const liars = [1, 3, liarsMax] as const;
/** A key without an honest publisher. */
const freshKey = new TextEncoder().encode("forged");
const forged = Uint8Array.of(0xf0, 0x0d);
/** The author that will be revoked is connected for this long, in milliseconds: then it was verified a short while ago. */
const authorStaysMs = 1_200;
/** Forgers leave after this, in milliseconds. */
const stayMs = 20_000;

/** What forgers are made with. */
export interface ForgerInit {
  readonly sim: Simulation;
  readonly checker: Checker;
  readonly oracle: Oracle;
  readonly credentials: ReadonlyMap<string, Credential>;
  readonly bites: Bites;
  /** Makes a member that listens, and takes part in the DHT. */
  readonly member: (name: string) => HostileMember | undefined;
}

/** Members that forge, and an author that is revoked. */
export class Forger {
  readonly #init: ForgerInit;

  constructor(init: ForgerInit) {
    this.#init = init;
  }

  begin(node: SimulatedNode): void {
    const { sim, member, credentials } = this.#init;
    const random = randomOf(sim.seed, "forger/lies");
    // All name the true publisher with another value, or a stranger; or each names one of both, or itself: a worker.
    const agreed = random.pick(["owner", "stranger", "nothing"]);
    const forgers = Array.from({ length: random.pick(liars) }, (_, nth) => member(`forger/${nth + 1}`))
      .filter((forger) => forger !== undefined);
    const stranger = credentials.get("forger/stranger");
    const gone = member("forger/gone");
    const [first] = forgers;
    if (first === undefined || stranger === undefined || gone === undefined) return;
    const data = () => [...sim.nodes.values()].find(({ role }) => role === "data")?.peer;
    for (const [nth, forger] of forgers.entries()) {
      const all = [() => undefined, data, () => forger.peer];
      const named = all[agreed === "nothing" ? nth % 3 : agreed === "owner" ? 1 : 0];
      this.#answerFor(forger, () => named?.() ?? peerOfCredential(stranger));
    }
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
    const { sim, checker, oracle, bites } = this.#init;
    const owner = [...sim.nodes.values()].find(({ role }) => role === "data")?.peer ?? "";
    if (owner !== "") {
      askForRecord(forger, connection, put({ key: freshKey, value: forged, publisher: multihashOf(owner) }));
    }
    sim.after(600, () =>
      askForRecord(forger, connection, get(freshKey), (record) => {
        if (record !== undefined) checker.violate("record-owner", node.name, "kept a record in another's name");
      }));
    const own = multihashOf(forger.peer);
    askForRecord(forger, connection, get(datasetKey), (before) => {
      // The first publisher of a key may have it.
      const former = before === undefined ? undefined : peerOf(before);
      if (before === undefined || former === undefined || former === forger.peer) return;
      bites.note("forger");
      askForRecord(
        forger,
        connection,
        put({ key: datasetKey, value: before.value, publisher: own }),
        () =>
          askForRecord(forger, connection, get(datasetKey), (after) => {
            if (after === undefined || peerOf(after) !== forger.peer) return;
            // An owner that was refused meanwhile has lost its keys.
            if (oracle.mayRefusePeer(node, former, sim.time.now)) return;
            checker.violate("record-owner", node.name, "gave the key of a data set to another owner");
          }),
      );
    });
  }

  /** Answers every look-up with a forged record of a publisher. */
  #answerFor({ hostile }: HostileMember, publisher: () => PeerText): void {
    hostile.wire.serve(kadProtocol);
    hostile.onOffered = (_, stream) => {
      if (stream.protocol !== kadProtocol) return undefined;
      return answering(stream, ({ type, key }) => {
        const named = publisher();
        // A node that is down has no PeerID to lie about.
        if (type !== "GET_VALUE" || key === undefined || named === "") return undefined;
        this.#init.bites.note("forger");
        const record = { key, value: liarsValue, publisher: multihashOf(named) };
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
