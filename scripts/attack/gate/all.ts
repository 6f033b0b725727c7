/**
 * Every attack on the gate.
 *
 * @module
 */
import type { GateAttack } from "./attack.ts";
import { fuzzing } from "./fuzz.ts";
import { members } from "./members.ts";
import { strangers } from "./strangers.ts";

export const attacks: readonly GateAttack[] = [...strangers, ...members, ...fuzzing];
