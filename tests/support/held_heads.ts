/** States of audit logs as witnesses hold them. */
import { keyOf } from "../../actors/simulation/authority.ts";
import { KeptLog } from "../../actors/simulation/kept_log.ts";
import type { HeldLog, OpenedHead } from "../../actors/witness/held_head.ts";

/** The signed state of a log of so many records. */
export function headOf(origin: string, records: number): OpenedHead {
  const log = new KeptLog(origin, keyOf("files", "audit"));
  for (let index = 0; index < records; index++) log.append(`record ${index}`);
  log.cover();
  const { key, ...head } = log.newest()!;
  return { ...head, binding: { key, signature: Uint8Array.of(1), chain: [Uint8Array.of(2)] } };
}

/** A log that is known to be forked, with states of 4 and 5 records. */
export function forkedLog(origin: string, at: number): HeldLog {
  const held = headOf(origin, 4);
  const fork = { problem: "split", held, other: headOf(origin, 5), at, from: "gateway-02 12D3KooW" } as const;
  return { head: held, isShared: false, at: 1_000, fork };
}
