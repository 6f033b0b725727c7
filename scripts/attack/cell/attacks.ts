/**
 * The attacks. Each runs a hostile program in a cell and checks that the cell held.
 *
 * A hostile program prints `ESCAPED …` for each thing that it reached. The attack checks the rest from outside.
 *
 * @module
 */
import type { AttackWorld } from "./world.ts";
import { bridgeAttacks } from "./bridge_attacks.ts";
import { fileAttacks } from "./file_attacks.ts";
import { lifetimeAttacks } from "./lifetime_attacks.ts";
import { deviceAttacks } from "./device_attacks.ts";
import { limitAttacks } from "./limit_attacks.ts";
import { raceAttacks } from "./race_attacks.ts";
import { reachAttacks } from "./reach_attacks.ts";
import { schedulerAttacks } from "./scheduler_attacks.ts";

/** The result of an attack. */
export interface AttackResult {
  /** How often it was tried. */
  readonly attempts: number;
  /** The things that the attack reached; empty where the cell held. */
  readonly escaped: readonly string[];
}

/** One attack. `scale` is 1 in full, less in a short run. */
export interface Attack {
  readonly id: string;
  run(world: AttackWorld, scale: number): Promise<AttackResult>;
}

/** All of them. */
export const attacks: readonly Attack[] = [
  ...fileAttacks,
  ...reachAttacks,
  ...limitAttacks,
  ...deviceAttacks,
  ...lifetimeAttacks,
  ...bridgeAttacks,
  ...schedulerAttacks,
  ...raceAttacks,
];
