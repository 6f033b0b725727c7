/**
 * Mutual TLS with a gate for anybody's libp2p application: an encrypter and a connection gater that belong together.
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
import { Result } from "effect";
import type { Refusal } from "../../pki/refusal.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import { Admission, type Admitted, defaultLimits } from "../core/admission.ts";
import { turningAway } from "./early_refusal.ts";
import { defaultFrameLimits, FrameBudgets, type FrameLimits } from "./frame_guard.ts";
import { GateBook } from "../core/gate_book.ts";
import { mtls } from "./mtls.ts";
import type { AddressText, GateSaid, MakeGate, NodeIdentity, TransportLimits } from "../port.ts";
import type { KeyExchange } from "./tls_context.ts";

/** What a door is made with. */
export interface DoorInit {
  /** The pair that new handshakes use. */
  readonly identity: () => NodeIdentity;
  /** What is trusted at the beginning. */
  readonly snapshot: TrustSnapshot;
  /** Makes the gate of each connection: `makeGateFactory` of the actors, or one of your own. */
  readonly makeGate: MakeGate;
  /** `hybrid` by default. */
  readonly keyExchange?: KeyExchange;
  /** From the first byte to the verdict, in milliseconds; 5,000 by default. */
  readonly deadlineMs?: number;
  /** Limits on connections and handshakes; {@linkcode defaultLimits} by default. */
  readonly limits?: TransportLimits;
  /** With `yamux`, the default, what a peer's frames may cost is limited; with `another`, that is the multiplexer's affair. */
  readonly multiplexer?: "yamux" | "another";
  /** {@linkcode defaultFrameLimits} by default. A longest frame below yamux's `maxStreamWindowSize` would end honest connections. */
  readonly frames?: FrameLimits;
  /** Hears everything that a gate says of the connection with this address. */
  readonly onSaid?: (said: GateSaid, address: AddressText) => void;
  /** Hears of each attempt that {@linkcode Door.early} turned away. */
  readonly onTurnedAway?: (refusal: Refusal, address: AddressText) => void;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** What goes into `createLibp2p`, and how trust changes later. */
export interface Door {
  /** For `connectionEncrypters`. */
  readonly encrypter: (components: object & { readonly logger: ComponentLogger }) => ConnectionEncrypter;
  /** For `connectionGater`; spread it together with a gater of your own. */
  readonly gater: ConnectionGater;
  /**
   * Turns attempts over a limit away before libp2p makes connections of them: put around `tcp()`. Without it they are
   * refused a little later, for four times the price. `onSaid` does not hear of these: `onTurnedAway` does.
   */
  readonly early: <Components>(make: (components: Components) => Transport) => (components: Components) => Transport;
  /** Sends every connection through its checks again; one that fails is closed. */
  trustChanged(snapshot: TrustSnapshot): void;
}

/** Components of libp2p that tell of connections. */
interface Events {
  readonly events: {
    addEventListener(type: "connection:open", listener: (event: CustomEvent<Connection>) => void): void;
  };
}

/** libp2p's components answer to a name, and do not tell which names they have. */
const eventsOf = (components: object): Events["events"] | undefined => (components as Partial<Events>).events;

/**
 * Makes a door. `docs/library.md` begins with an application that uses one, whole; a test runs it.
 *
 * @throws {MovedInternal} from what it gives to libp2p, where the inside of libp2p is another than the one this was written for.
 */
export function makeDoor(init: DoorInit): Door {
  const { identity, makeGate, keyExchange = "hybrid", deadlineMs = 5_000, limits = defaultLimits, now } = init;
  let { snapshot } = init;
  const admission = new Admission(limits);
  const frames = init.multiplexer === "another" ? {} : { frames: new FrameBudgets(init.frames ?? defaultFrameLimits) };
  const none = { opened: () => {}, release: () => {} };
  const gates = new GateBook({
    makeGate,
    snapshot: () => snapshot,
    identity,
    deadlineMs,
    uuid: randomUUID,
    admit: ({ direction, address }) => {
      if (direction === "outbound") return { admission: Result.succeed(undefined), ...none };
      const admitted: Result.Result<Admitted, Refusal> = admission.admit(address, now());
      return { admission: admitted, ...(Result.isSuccess(admitted) ? admitted.success : none) };
    },
    onSaid: ({ address }, said) => init.onSaid?.(said, address),
  });
  const opened = (connection: Connection) => {
    const gated = gates.of(connection);
    if (gated === undefined) return connection.abort(new Error("an opened connection without a gate"));
    gated.connection = connection;
    gated.gate.send({ type: "connection.opened" });
    if (gated.gate.phase === "established") gated.opened();
    else gates.close(gated);
  };
  return {
    encrypter: (components) => {
      const events = eventsOf(components);
      if (events === undefined) throw new TypeError("Cannot watch connections: libp2p gave no events");
      events.addEventListener("connection:open", ({ detail }) => opened(detail));
      return mtls({ identity, keyExchange, gates, now, ...frames })(components);
    },
    gater: {
      denyInboundConnection: (raw: MultiaddrConnection) =>
        gates.birth(raw, "inbound", undefined).gate.phase === "refused",
    },
    early: (make) =>
      turningAway(make, (address) => {
        const refusal = admission.refusalOf(address, now());
        if (refusal !== undefined) init.onTurnedAway?.(refusal, address);
        return refusal !== undefined;
      }),
    trustChanged: (next) => {
      snapshot = next;
      gates.reverify(next);
    },
  };
}
