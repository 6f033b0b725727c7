/**
 * The type of an attack on the gate.
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

/** The means of an attack. */
export interface GateWorld {
  readonly port: number;
  /** A member's certificate with its key. */
  readonly member: Shown;
  /** The certificate of a member without a function. Attacks use its key with the certificates of others. */
  readonly thief: Shown;
  /** Notes that the attack got something. */
  escaped(what: string): void;
}

/**
 * The default number of connections that an attack starts in a second: twice the limit of one address (`[limits]
 * handshakes_per_second`). Without a pace the attackers' processor would determine the figures.
 */
export const attackRate = 100;

/** One attack: `count` connections in full, `parallel` at once. */
export interface GateAttack {
  readonly id: string;
  readonly count: number;
  readonly parallel: number;
  /** Connections started in a second; {@linkcode attackRate} by default, more for attacks that send little. */
  readonly perSecond?: number;
  /** Inputs on each connection; one by default. */
  readonly inputs?: number;
  /** Refusal codes that may come of it; every attempt has one of them. None: the attacker is a member. */
  readonly expected: readonly string[];
  /** It may be over before the node has seen it. */
  readonly unseen?: boolean;
  /** Attacks on a new connection. A throw means that the node refused early, which is allowed. */
  run(world: GateWorld, socket: Socket): Promise<void>;
}
