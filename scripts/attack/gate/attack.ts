/**
 * What an attack on the gate is.
 *
 * @module
 */
import type { Socket } from "node:net";

/** A certificate with its key. */
export interface Shown {
  readonly chain: readonly Uint8Array[];
  readonly keyPem: string;
  readonly certPem: string;
}

/** What an attack may use. */
export interface GateWorld {
  readonly port: number;
  /** A member's certificate with its key. */
  readonly member: Shown;
  /** A certificate of a member that is on nobody's side: its key is used for others' certificates. */
  readonly thief: Shown;
  /** Notes that the attack got something. */
  escaped(what: string): void;
}

/**
 * Connections that an attack begins in a second unless it says otherwise: twice what one address may (`[limits]
 * handshakes_per_second`). Without a pace the figures would be those of the attackers' processor.
 */
export const attackRate = 100;

/** One attack: `count` connections in full, `parallel` at once. */
export interface GateAttack {
  readonly id: string;
  readonly count: number;
  readonly parallel: number;
  /** Connections begun in a second; {@linkcode attackRate} unless said, more where little is sent. */
  readonly perSecond?: number;
  /** Inputs that each connection brings; one unless said. */
  readonly inputs?: number;
  /** Refusal codes that may come of it; every attempt has one of them. None: the attacker is a member. */
  readonly expected: readonly string[];
  /** It may be over before the node has seen it. */
  readonly unseen?: boolean;
  /** What is done on a fresh connection. One that throws was refused early, which is fine. */
  run(world: GateWorld, socket: Socket): Promise<void>;
}
