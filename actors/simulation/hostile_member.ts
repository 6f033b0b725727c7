/**
 * A hostile member: a peer with certificates of the organisation that keeps to no rule of the core. It may show another
 * certificate on each connection.
 *
 * @module
 */
import { Result } from "effect";
import type { WireConnection } from "../../transport/core/wire.ts";
import type { AddressText, NodeIdentity, PeerText } from "../../transport/port.ts";
import type { WorkerRequest } from "../../transport/protocols/messages.ts";
import { encodeMessage } from "../../transport/protocols/mod.ts";
import { SimulatedConnection } from "../../transport/simulated/connection.ts";
import { Directory } from "../../transport/simulated/directory.ts";
import { SimulatedWire } from "../../transport/simulated/wire.ts";
import { executorsDefault } from "../config/defaults.ts";
import { randomOf } from "../runtime/random.ts";
import { type Credential, peerOfCredential } from "./authority.ts";
import { HostilePeer } from "./hostile_peer.ts";
import { NodeClock } from "./node_clock.ts";
import type { Simulation } from "./simulation.ts";

/** Where hostile members dial from (RFC 5737, TEST-NET-2). */
const memberNetwork = "/ip4/198.51.100.";

/** What a hostile member is made with. */
export interface HostileMemberInit {
  readonly sim: Simulation;
  /** What it shows until {@linkcode HostileMember.show} is called. */
  readonly credential: Credential;
  /** The certificate of its issuer, where that is not the organisation's. */
  readonly above?: Uint8Array;
  /** Tells it apart from the others of a run. */
  readonly number: number;
  /** It listens, and takes part in the DHT. */
  readonly isListed?: boolean;
}

/** A member that does what it wants. */
export class HostileMember {
  readonly hostile: HostilePeer;
  readonly peer: PeerText;
  readonly #sim: Simulation;

  constructor({ sim, credential, above, number, isListed = false }: HostileMemberInit) {
    this.#sim = sim;
    const { network, time, seed } = sim;
    const name = `member-${number}`;
    const identity = identityOf(sim, credential, above);
    this.peer = identity.peer;
    const host = {
      name,
      network,
      clock: new NodeClock(time),
      directory: isListed ? sim.directory : new Directory(),
      address: `${memberNetwork}${1 + number % 250}/tcp/${1_000 + number}`,
      isDialable: isListed,
      stopped: false,
      pretends: { proven: true },
    };
    const { uuid } = randomOf(seed, `hostile/${name}`);
    const wire = new SimulatedWire(host, { identity, uuid, relay: "off", externalAddresses: [] });
    this.hostile = new HostilePeer(wire, identity);
    wire.start(this.hostile, () => {});
    if (isListed) wire.serveDht(true);
  }

  /** Connections that were made from now on show this certificate. */
  show(credential: Credential): void {
    this.hostile.identity = identityOf(this.#sim, credential);
  }

  /** Opens a connection. */
  dial(address: AddressText, opened: (connection: WireConnection) => void = () => {}): void {
    this.hostile.dial(address, (outcome) => {
      if (Result.isSuccess(outcome)) opened(outcome.success);
    });
  }

  /** Connections that are open, as far as it can see. */
  get open(): readonly WireConnection[] {
    return [...this.hostile.connections].filter(({ isOpen }) => isOpen);
  }

  /** Asks whether the node is healthy. */
  askHealth(connection: WireConnection, done: Parameters<HostilePeer["exchange"]>[3] = () => {}): void {
    this.hostile.exchange(connection, "/hypha-health/0.0.1", encodeMessage("/hypha-health/0.0.1", "request", {}), done);
  }

  /** Sends a message of gossip in an author's name, as if that author had signed it. */
  gossip(
    connection: WireConnection,
    topic: string,
    message: { readonly author: PeerText; readonly bytes: Uint8Array },
  ) {
    if (!(connection instanceof SimulatedConnection)) return;
    const id = (this.hostile.wire as SimulatedWire).uuid();
    connection.sendFrame({ type: "gossip", id, topic, signed: true, size: message.bytes.length, ...message });
  }

  stop(): void {
    this.hostile.wire.stop(() => {});
  }
}

/** A request for workers whose offers the hostile member never accepts. */
export function requestForWorkers(id: string, now: number): WorkerRequest {
  const resources = { gpu: 0, cpu: 1, storage: 1, memory: 8 };
  const timeout = { secs_since_epoch: Math.floor(now / 1_000) + 5, nanos_since_epoch: 0 };
  const executor = [{ class: "train", name: executorsDefault.train }] as const;
  return { id, spec: { resources, executor }, timeout, bid: 1_000 };
}

function identityOf(
  { authority: { intermediate } }: Simulation,
  credential: Credential,
  above = intermediate.der,
): NodeIdentity {
  const { der, name, certPem, keyPem } = credential;
  const notAfter = new Date(8.64e15);
  return {
    peer: peerOfCredential(credential),
    chain: [der, above],
    certPem,
    keyPem,
    generation: 1,
    name,
    notAfter,
  };
}
