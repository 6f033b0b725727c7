/**
 * Mutual TLS with a gate for any libp2p application: an encrypter and a connection gater that belong together.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import type {
  ComponentLogger,
  Connection,
  ConnectionEncrypter,
  ConnectionGater,
  MultiaddrConnection,
  Transport,
} from "@libp2p/interface";
import type { Refusal } from "../../pki/refusal.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import { defaultLimits } from "../core/admission.ts";
import { ConnectionTable } from "../core/connection_table.ts";
import type { AddressText, GateEvent, MakeGate, NodeIdentity, TransportLimits } from "../port.ts";
import { Libp2pConnections } from "./connections.ts";
import { turningAway } from "./early_refusal.ts";
import { defaultFrameLimits, FrameBudgets, type FrameLimits } from "./frame_guard.ts";
import { mtls } from "./mtls.ts";
import { realClock } from "./real_clock.ts";
import type { KeyExchange } from "./tls_context.ts";

/** What {@linkcode makeMtlsSecurity} takes. */
export interface MtlsSecurityInit {
  /** The pair that new handshakes use. */
  readonly identity: () => NodeIdentity;
  /** The trust at the beginning. */
  readonly snapshot: TrustSnapshot;
  /** Makes the gate of each connection: `makeGateFactory` of the actors, or one of your own. */
  readonly makeGate: MakeGate;
  /** `hybrid` by default. */
  readonly keyExchange?: KeyExchange;
  /** From the first byte to the verdict, in milliseconds; 5,000 by default. */
  readonly deadlineMs?: number;
  /** Limits on connections and handshakes; {@linkcode defaultLimits} by default. */
  readonly limits?: TransportLimits;
  /** With `yamux`, the default, what a peer's frames may cost is limited; with `another` the multiplexer limits it. */
  readonly multiplexer?: "yamux" | "another";
  /** {@linkcode defaultFrameLimits} by default. A longest frame below yamux's `maxStreamWindowSize` would end honest connections. */
  readonly frames?: FrameLimits;
  /** Receives everything that a gate reports about the connection with this address. */
  readonly onSaid?: (said: GateEvent, address: AddressText) => void;
  /** Receives each attempt that {@linkcode MtlsSecurity.early} turned away. */
  readonly onTurnedAway?: (refusal: Refusal, address: AddressText) => void;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** What goes into `createLibp2p`, and how trust changes later. */
export interface MtlsSecurity {
  /** For `connectionEncrypters`. */
  readonly encrypter: (components: object & { readonly logger: ComponentLogger }) => ConnectionEncrypter;
  /** For `connectionGater`; spread it together with a gater of your own. */
  readonly gater: ConnectionGater;
  /**
   * Turns attempts over a limit away before libp2p makes connections of them: put around `tcp()`. Without it they are
   * refused a little later, for four times the price. `onTurnedAway` receives these, `onSaid` does not.
   */
  readonly early: <Components>(make: (components: Components) => Transport) => (components: Components) => Transport;
  /** Sends every connection through its checks again; one that fails is closed. */
  trustChanged(snapshot: TrustSnapshot): void;
}

/** Components of libp2p that report connections. */
interface Events {
  readonly events: {
    addEventListener(type: "connection:open", listener: (event: CustomEvent<Connection>) => void): void;
  };
}

/** libp2p's components answer to a name, and do not list the names they have. */
const eventsOf = (components: object): Events["events"] | undefined => (components as Partial<Events>).events;

/**
 * Makes mutual TLS with a gate. `docs/library.md` begins with an application that uses it, whole; a test runs it.
 *
 * @throws {MovedInternal} from what it gives to libp2p, where the inside of libp2p is another than the one this was written for.
 */
export function makeMtlsSecurity(init: MtlsSecurityInit): MtlsSecurity {
  const { identity, makeGate, keyExchange = "hybrid", deadlineMs = 5_000, limits = defaultLimits, now } = init;
  const frames = init.multiplexer === "another" ? {} : { frames: new FrameBudgets(init.frames ?? defaultFrameLimits) };
  const table = new ConnectionTable({
    clock: realClock(now),
    makeGate,
    snapshot: init.snapshot,
    identity,
    limits,
    handshakeTimeoutMs: deadlineMs,
    uuid: randomUUID,
    listener: {
      gate: ({ address }, said) => init.onSaid?.(said, address),
      turnedAway: (address, refusal) => init.onTurnedAway?.(refusal, address),
    },
  });
  const connections = new Libp2pConnections(table);
  return {
    encrypter: (components) => {
      const events = eventsOf(components);
      if (events === undefined) throw new TypeError("Cannot watch connections: libp2p gave no events");
      events.addEventListener("connection:open", ({ detail }) => connections.opened(detail));
      return mtls({ keyExchange, connections, now, ...frames })(components);
    },
    gater: {
      denyInboundConnection: (raw: MultiaddrConnection) =>
        connections.begin(raw, "inbound", { expectedPeer: undefined, read: "nothing" }).isRefused,
    },
    early: (make) => turningAway(make, (address) => table.turnsAway(address)),
    trustChanged: (snapshot) => table.trustChanged(snapshot),
  };
}
