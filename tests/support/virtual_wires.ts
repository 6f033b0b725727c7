/**
 * Wires of the virtual network without a core: each with a listener that accepts everything and notes what it is told.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { Result } from "effect";
import { HostilePeer } from "../../actors/simulation/hostile_peer.ts";
import { NodeClock } from "../../actors/simulation/node_clock.ts";
import { VirtualTime } from "../../actors/simulation/virtual_time.ts";
import type {
  ConnectionEnd,
  GossipMessage,
  StreamEnd,
  StreamListener,
  WireConnection,
  WireStream,
} from "../../transport/core/wire.ts";
import { Directory } from "../../transport/simulated/directory.ts";
import { VirtualNetwork } from "../../transport/simulated/network.ts";
import { type SimulatedHost, SimulatedWire } from "../../transport/simulated/wire.ts";
import type { TestPki } from "./pki.ts";
import { identityOf } from "./transports.ts";

/** What a stream told its reader, and the stream. */
export class NotedStream implements StreamListener {
  readonly notes: string[] = [];
  readonly #order: string[];
  stream: WireStream | undefined;
  size = 0;
  how: StreamEnd | undefined;

  constructor(order: string[] = []) {
    this.#order = order;
  }
  opened(): void {
    this.#note("opened");
  }
  data(bytes: Uint8Array): void {
    this.size += bytes.length;
    this.#note("data");
  }
  ended(): void {
    this.#note("ended");
  }
  drained(): void {
    this.#note("drained");
  }
  closed(how: StreamEnd): void {
    this.how = how;
    this.#note("closed");
  }
  #note(what: string): void {
    if (this.notes.at(-1) !== what) this.notes.push(what);
    this.#order.push(what);
  }
}

/** A wire with an accepting listener. */
export class NotingPeer extends HostilePeer {
  readonly host: SimulatedHost;
  readonly address: string;
  readonly order: string[] = [];
  readonly received: NotedStream[] = [];
  readonly messages: GossipMessage[] = [];
  readonly ends: ConnectionEnd[] = [];
  readonly told: string[] = [];
  addressesNow: readonly string[] = [];
  brokenBy: string[] = [];
  mayDialNow = true;
  onStream: (noted: NotedStream) => void = () => {};
  verdict: "accept" | "ignore" | "reject" = "accept";

  constructor(wire: SimulatedWire, identity: HostilePeer["identity"], host: SimulatedHost) {
    super(wire, identity);
    this.host = host;
    this.address = `${host.address}/p2p/${identity.peer}`;
  }
  get peer(): string {
    return this.identity.peer;
  }
  override stream(_connection: WireConnection, stream: WireStream): StreamListener {
    const noted = new NotedStream(this.order);
    noted.stream = stream;
    this.received.push(noted);
    this.onStream(noted);
    return noted;
  }
  override ended(connection: WireConnection, end?: ConnectionEnd): void {
    super.ended(connection);
    this.order.push("connection ended");
    if (end !== undefined) this.ends.push(end);
  }
  override gossip(message: GossipMessage): void {
    this.messages.push(message);
    message.settle(this.verdict);
  }
  override mayDial(): boolean {
    return this.mayDialNow;
  }
  override broken(connection: WireConnection, detail = ""): void {
    this.brokenBy.push(detail);
    super.broken(connection);
  }
  override addresses(own: readonly string[] = []): void {
    this.addressesNow = own;
  }
  override reservationLost(relay = ""): void {
    this.told.push(`reservation lost at ${relay}`);
  }
  override dhtReady(): void {
    this.told.push("dht ready");
  }
}

/** A virtual network with wires on it. */
export function virtualWires(pki: TestPki) {
  const time = new VirtualTime(Date.now());
  const network = new VirtualNetwork({ time, random: () => 0.5 });
  const directory = new Directory();
  let hosts = 0;
  const pass = (ms: number) => time.runTo(time.now + ms);
  return {
    time,
    network,
    directory,
    pass,
    async join(
      name: string,
      options: { readonly relay?: "server" | "client" | "off"; readonly isDialable?: boolean } = {},
    ): Promise<NotingPeer> {
      const { relay = "off", isDialable = true } = options;
      const identity = identityOf(await pki.node(name));
      const address = `/ip4/10.0.0.${++hosts}/tcp/4000`;
      const host = { name, network, clock: new NodeClock(time), directory, address, isDialable, stopped: false };
      const wire = new SimulatedWire(host, { identity, uuid: randomUUID, relay, externalAddresses: [] });
      const peer = new NotingPeer(wire, identity, host);
      wire.start(peer, (started) => Result.getOrThrow(started));
      pass(1);
      return peer;
    },
    /** A connection, seen from the dialler. */
    dial(from: NotingPeer, to: NotingPeer | string): WireConnection {
      let found: WireConnection | undefined;
      from.dial(typeof to === "string" ? to : to.address, (outcome) => found = Result.getOrThrow(outcome));
      pass(100);
      if (found === undefined) throw new Error("Cannot connect");
      return found;
    },
  };
}
