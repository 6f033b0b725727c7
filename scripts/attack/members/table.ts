/**
 * The table of a run, for people and for `docs/security.md`.
 *
 * @module
 */
import { aligned } from "../aligned.ts";
import type { MemberAttackRow } from "./siege.ts";

const ms = (value: number) => value.toFixed(1);

/** One row for each attack, in Markdown: what the node did, and the pings of an honest member meanwhile. */
export function membersTable(rows: readonly MemberAttackRow[]): string {
  return aligned([
    ["attack", "attempts", "held", "what came of it", "honest p99, and quiet (ms)"],
    ...rows.map(({ id, attempts, held, seen, honest }) => [
      `\`${id}\``,
      attempts.toLocaleString("en"),
      held ? "held" : "**no**",
      seen,
      honest === null ? "" : `${ms(honest.p99Ms)}, ${ms(honest.quietP99Ms)}`,
    ]),
  ]);
}
