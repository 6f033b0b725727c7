/**
 * Deliberate defects in witnesses of audit logs. Scenarios about witnesses find them.
 *
 * @module
 */
import type { PlantedBug } from "./planted_bugs.ts";

const bug = (name: string, file: string, find: string, replace: string): PlantedBug => ({
  ...{ name, file, find, replace },
  family: "witnesses",
});

/** Planted bugs about witnesses. */
export const plantedWitnessBugs: readonly PlantedBug[] = [
  bug(
    "a proof that a log is continued is not verified",
    "actors/witness/judge.ts",
    "const continues = isConsistent(held, head, answer.Proof.path);",
    "const continues = answer.Proof.path.length >= 0;",
  ),
  bug(
    "other witnesses are told nothing",
    "actors/witness/witness_actions.ts",
    "if (heads.length === 0) return;",
    "if (heads.length >= 0) return;",
  ),
  bug(
    "a key is believed without the certificate of the log's node",
    "actors/witness/judge.ts",
    "if (boundOrigin(binding) !== origin) return",
    "if (origin.length === 0) return",
  ),
];
