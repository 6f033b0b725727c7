/**
 * A member that makes dear work for as long as it is let: large requests, look-ups of records, streams without end, and bulk that it
 * never finishes. The core delays it, and then refuses it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { kadStreamsPerPeerMax, streamsPerPeerMax } from "../../transport/core/stream_places.ts";
import { prefixLength } from "../../transport/core/length_prefixed.ts";
import { kadProtocol, type WireConnection, type WireStream } from "../../transport/core/wire.ts";
import { encodeKadMessage } from "../../transport/protocols/kad_record.ts";
import { randomOf } from "../runtime/random.ts";
import type { HostileMember } from "./hostile_member.ts";
import type { SimulatedNode } from "./node.ts";
import type { ScenarioEvent } from "./scenario.ts";
import type { Simulation } from "./simulation.ts";

/** How often it looks for room to ask more, in milliseconds. */
const everyMs = 100;
/** Its connections, and how long they last where it connects again and again, in milliseconds. */
const connectionsMax = 2;
const lastsMs = 4_000;
/** Requests and look-ups that it has under way. */
const requestsMax = 48;
const lookUpsMax = kadStreamsPerPeerMax - 4;
/** Look-ups, where it makes any, for so long: a run has to answer many before they are as dear as a request. */
const lookUpsMs = 6_000;
/** Streams that it opens at once, more than there are places, and how often, in milliseconds. */
const streamsMax = streamsPerPeerMax + 12;
const streamsEveryMs = 5_000;
/** The size of a request: less than a window; of the key of a look-up; and of what it never ends. In bytes. */
const requestBytes = 240 * 1_024;
const keyBytes = 48 * 1_024;
const unendedBytes = 512 * 1_024;

const health = "/hypha-health/0.0.1";
/** CBOR: `{"p": bytes}`. The key means nothing, and is decoded. */
const largeQuestion = Buffer.concat([
  Uint8Array.of(0xa1, 0x61, 0x70, 0x5a, 0, requestBytes >> 16, (requestBytes >> 8) & 255, requestBytes & 255),
  Buffer.alloc(requestBytes),
]);
const largeLookUp = prefixLength(encodeKadMessage({
  type: "GET_VALUE",
  key: new Uint8Array(keyBytes).fill(7),
  closer: [],
  providers: [],
}));

/** What it is made with. */
export interface ExpensiveInit {
  readonly sim: Simulation;
  readonly member: HostileMember;
}

/** Makes the work. */
export class ExpensiveMember {
  readonly #sim: Simulation;
  readonly #member: HostileMember;
  #underWay = 0;
  readonly #opened: WireStream[] = [];

  constructor({ sim, member }: ExpensiveInit) {
    this.#sim = sim;
    this.#member = member;
  }

  /** Until it leaves. A member that was delayed for 30 s on end is refused before. */
  begin(node: SimulatedNode, { amount, forMs }: Pick<ScenarioEvent, "amount" | "forMs">): void {
    const sim = this.#sim;
    const { hostile } = this.#member;
    const random = randomOf(sim.seed, `expensive/${node.name}/${sim.now}`);
    const [returns, hoards] = [random.chance(0.5), random.chance(0.5)];
    for (let at = 0; at < forMs; at += everyMs) {
      sim.after(at, () => {
        if (returns && at % lastsMs === 0) hostile.leave();
        if (at % 1_000 === 0) this.#connect(node);
        this.#leave();
        const [first] = this.#member.open;
        if (at > 0 && at % streamsEveryMs === 0) this.#crowd();
        if (first !== undefined && hoards && at === everyMs * 5) this.#hoard(first);
        this.#ask(amount >= 0.5 && at < lookUpsMs ? "look-ups" : "requests");
      });
    }
    sim.after(forMs, () => this.#member.stop());
  }

  #connect(node: SimulatedNode): void {
    for (let nth = this.#member.hostile.connections.size; nth < connectionsMax; nth++) this.#member.dial(node.address);
  }

  /** As many questions as there is room for, over all connections. */
  #ask(what: "requests" | "look-ups"): void {
    const { open, hostile } = this.#member;
    const [protocol, question, max] = what === "requests"
      ? [health, largeQuestion, requestsMax] as const
      : [kadProtocol, largeLookUp, lookUpsMax] as const;
    while (open.length > 0 && this.#underWay < max) {
      this.#underWay += 1;
      const connection = open[this.#underWay % open.length] as WireConnection;
      hostile.exchange(connection, protocol, question, () => this.#underWay -= 1);
    }
  }

  /** More streams than there are places, over all connections; fewer over each. */
  #crowd(): void {
    const { open, hostile } = this.#member;
    for (let nth = 0; open.length > 0 && nth < streamsMax; nth++) {
      this.#opened.push(hostile.open(open[nth % open.length] as WireConnection, health));
    }
  }

  #leave(): void {
    for (const stream of this.#opened.splice(0)) stream.abort("it has seen enough");
  }

  /** Halves of requests, of more bytes together than are held. */
  #hoard(connection: WireConnection): void {
    const { hostile } = this.#member;
    const half = Buffer.alloc(unendedBytes);
    for (let nth = 0; nth < streamsPerPeerMax; nth++) hostile.open(connection, health).send(half);
  }
}
