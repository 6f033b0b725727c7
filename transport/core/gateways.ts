/**
 * The configured gateways of a session: who is at their addresses, and what only a gateway may do.
 *
 * @module
 */
import type { PeerIdentity } from "../../pki/path.ts";
import { NotAuthorized } from "../../pki/refusal.ts";
import type { Act } from "../authorization/acts.ts";
import type { PeerText, TransportInput } from "../port.ts";
import { gatewaysAmong, leadsToGateway } from "./addresses.ts";
import type { Authorization } from "./authorization.ts";
import type { ConnectionTable } from "./connection_table.ts";
import type { DialTarget } from "./dialing.ts";
import type { Reachability } from "./reachability.ts";
import type { Wire, WireConnection } from "./wire.ts";

/** What it is made with. */
export interface GatewaysInit {
  readonly input: Pick<TransportInput, "role" | "gatewayAddresses"> & {
    readonly identity: { readonly peer: PeerText };
  };
  readonly table: Pick<ConnectionTable, "identityOf" | "of" | "open" | "closeOne">;
  readonly acts: Pick<Authorization, "refusalOf" | "allows" | "report">;
  readonly reachability: Pick<Reachability, "isRelay">;
  readonly wire: Pick<Wire, "unreserve">;
}

/** Acts whose denial by a changed rule ends a connection: what began by them lives in the wire. */
const heldByWire: ReadonlySet<Act> = new Set(["gossip", "relay.reserve", "relay.connect", "gateway"]);

/** The configured gateways. */
export class Gateways {
  readonly #init: GatewaysInit;

  constructor(init: GatewaysInit) {
    this.#init = init;
  }

  /** Why a peer may not be at the end of a connection there; undefined unless it is a configured gateway's address, or the gateway that one names. */
  refusalOf(place: Pick<WireConnection, "relay" | "address">, identity: PeerIdentity): NotAuthorized | undefined {
    const { input: { gatewayAddresses }, acts } = this.#init;
    return leadsToGateway(place, identity, gatewayAddresses) ? acts.refusalOf("gateway", identity) : undefined;
  }

  /** The same of a dial's target. A connection that there was may lead elsewhere: what is asked for as a gateway is one. */
  refusalOfDial(target: DialTarget, connection: WireConnection): NotAuthorized | undefined {
    const identity = this.#init.table.identityOf(connection);
    if (identity === undefined) return undefined;
    return this.refusalOf("address" in target ? { relay: undefined, address: target.address } : connection, identity);
  }

  /** Whether a peer is a configured gateway that is connected; at a gateway, whether it is this node itself. */
  isGateway(peer: PeerText): boolean {
    const { input: { role, identity }, table } = this.#init;
    if (role === "gateway") return peer === identity.peer;
    return [...table.of(peer)].some((connection) => this.#leadsToGateway(connection));
  }

  /**
   * Whether a configured gateway that is connected is one of the existing network: its certificate names no role. Its gossip reaches a
   * dozen members, which hand it on to those that they are linked with.
   */
  get areExisting(): boolean {
    const { input: { role, gatewayAddresses }, table } = this.#init;
    if (role === "gateway") return false;
    for (const connection of table.open()) {
      const identity = table.identityOf(connection);
      if (identity === undefined || identity.role !== undefined) continue;
      if (leadsToGateway(connection, identity, gatewayAddresses)) return true;
    }
    return false;
  }

  /** The configured gateways that are connected. */
  peers(): readonly PeerText[] {
    return gatewaysAmong(this.#init.table, this.#init.input.gatewayAddresses);
  }

  /** Whether the peer of a connection may use a service of the wire's own. */
  permits(connection: WireConnection, act: Act): boolean {
    const { table, acts, reachability } = this.#init;
    const identity = table.identityOf(connection);
    if (identity === undefined || !acts.allows(act, identity)) return false;
    if (act !== "relay.connect" || reachability.isRelay(identity.peer)) return true;
    const { role = "none", name } = identity;
    acts.report(act, identity, new NotAuthorized({ act, role, name, rule: "this node has no reservation there" }));
    return false;
  }

  /** A member is connected: a reservation lasts longer than its connection, and rules may have changed while the member was away. */
  established(identity: PeerIdentity): void {
    const { acts, wire } = this.#init;
    if (acts.refusalOf("relay.reserve", identity) !== undefined) wire.unreserve(identity.peer);
  }

  /** Rules deny acts to a member: ends its connections where the wire itself goes on with what they began. */
  denied(connections: Iterable<WireConnection>, denied: ReadonlySet<Act>): void {
    if (denied.has("relay.reserve")) this.#unreserve(connections);
    const ending = [...heldByWire].filter((act) => denied.has(act));
    if (ending.length === 0) return;
    for (const connection of connections) {
      if (ending.every((act) => act === "gateway" && !this.#leadsToGateway(connection))) continue;
      this.#init.table.closeOne(connection, `the rules deny ${ending.join(", ")}`);
    }
  }

  #unreserve(connections: Iterable<WireConnection>): void {
    const { table, wire } = this.#init;
    for (const connection of connections) {
      const peer = table.identityOf(connection)?.peer;
      if (peer !== undefined) wire.unreserve(peer);
    }
  }

  #leadsToGateway(connection: WireConnection): boolean {
    const { input: { gatewayAddresses }, table } = this.#init;
    return leadsToGateway(connection, table.identityOf(connection), gatewayAddresses);
  }
}
