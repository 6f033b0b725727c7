/**
 * The part `ca`: strangers and members on the HTTPS port of a CA, local users on its admin socket. The CA is started as its users start it.
 *
 * @module
 */
import { runtimeBinary } from "../demo/processes.ts";
import { aligned } from "./aligned.ts";
import { approvalAttacks } from "./ca/approval_attacks.ts";
import { clientAttacks } from "./ca/client_attacks.ts";
import { csrAttacks } from "./ca/csr_attacks.ts";
import { renewalAttacks } from "./ca/renewal_attacks.ts";
import { identityAttacks } from "./ca/identity_attacks.ts";
import { besiege, type CaAttackRow } from "./ca/siege.ts";
import { socketAttacks } from "./ca/socket_attacks.ts";
import { tokenAttacks } from "./ca/token_attacks.ts";
import { CaWorld } from "./ca/world.ts";

/** The report of a run. */
export interface CaReport {
  readonly part: "ca";
  readonly runtime: string;
  readonly ok: boolean;
  readonly exits: number;
  readonly unhandled: number;
  /** Resident memory at the end. */
  readonly rssBytes: number;
  readonly attacks: readonly CaAttackRow[];
}

/** How the attacks are run. `quick` is for tests: a few attempts each, and no figures. */
interface CaAttackOptions {
  readonly runtime: "node" | "deno";
  readonly json: boolean;
  readonly quick: boolean;
  readonly rest: readonly string[];
}

const attacks = [
  ...tokenAttacks,
  ...csrAttacks,
  ...renewalAttacks,
  ...identityAttacks,
  ...clientAttacks,
  ...socketAttacks,
  ...approvalAttacks,
];

/** Runs every attack on one runtime's CA. */
export async function attack({ runtime, json, quick, rest }: CaAttackOptions): Promise<CaReport[]> {
  const say = json ? console.error : console.log;
  const only = rest[rest.indexOf("--only") + 1]?.split(",");
  const chosen = rest.includes("--only") ? attacks.filter(({ id }) => only?.includes(id)) : attacks;
  const world = await CaWorld.start(runtime, await runtimeBinary(runtime));
  try {
    const rows: CaAttackRow[] = [];
    for (const each of chosen) {
      const count = quick ? each.count.quick : each.count.full;
      const row = await besiege(world, each, { count, calm: quick ? "is shown" : "counts" });
      rows.push(row);
      const { held, id, attempts, seen, pieceMs, honestMs } = row;
      const figures = `(longest piece ${pieceMs.toFixed(1)} ms, honest at most ${honestMs.toFixed(0)} ms)`;
      say(`${held ? "held    " : "NOT held"}  ${id} × ${attempts}: ${seen} ${figures}`);
    }
    if (!json) say(`\n${caTable(rows)}`);
    const { unhandled, rssBytes } = await world.footprint();
    const ok = world.exits === 0 && unhandled === 0 && rows.every(({ held }) => held);
    return [{ part: "ca", runtime, ok, exits: world.exits, unhandled, rssBytes, attacks: rows }];
  } finally {
    await world.stop();
  }
}

/** One row for each attack, in Markdown. */
function caTable(rows: readonly CaAttackRow[]): string {
  return aligned([
    ["attack", "attempts", "held", "what came of it", "longest piece, honest at most (ms)"],
    ...rows.map(({ id, attempts, held, seen, pieceMs, honestMs }) => [
      `\`${id}\``,
      attempts.toLocaleString("en"),
      held ? "held" : "**no**",
      seen,
      `${pieceMs.toFixed(1)}, ${honestMs.toFixed(0)}`,
    ]),
  ]);
}
