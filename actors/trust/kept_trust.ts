/**
 * The marks and lists that the trust store gives the keeper to write to disk.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { verifierOf } from "../../pki/crl.ts";
import { domainKey, raiseMarks } from "../../pki/crl_marks.ts";
import type { KeepSource } from "../files/keep_crls.ts";
import type { CrlKeeperEvent } from "./crl_keeper.ts";
import type { TrustStoreContext } from "./trust_store.ts";

/** The keeper's input. */
export const keeperInput = ({ ports, stateDir, timing: { keepRetryMs } }: TrustStoreContext) => ({
  ports,
  stateDir,
  retryMs: keepRetryMs,
});

/** The marks and lists to keep on disk. */
export function keepWork({ crlMarks, seenLists, held, sources, paths }: TrustStoreContext): CrlKeeperEvent {
  const files = [{ name: undefined, crlsPem: paths.crlsPem }, ...paths.domains ?? []];
  const from = files.flatMap(({ name, crlsPem }): [string, KeepSource][] => {
    const source = crlsPem === undefined ? undefined : sources.lists.get(crlsPem);
    if (crlsPem === undefined || source === undefined) return [];
    const bytes = typeof source === "string" ? Buffer.from(source) : source;
    return [[domainKey(name), bytes instanceof Uint8Array ? { bytes } : { path: crlsPem }]];
  });
  const work = { marks: crlMarks, lists: seenLists ?? new Map(), sources: new Map(from), held };
  return { type: "keep", work };
}

/** The marks, raised to all used lists whose signature is verified by now, some on a peer's path only. */
export function noteVouched(
  { crlMarks, seenLists }: TrustStoreContext,
): Pick<TrustStoreContext, "crlMarks" | "vouched"> {
  let marks = crlMarks;
  for (const [domain, lists] of seenLists ?? []) marks = raiseMarks(marks, domain, lists);
  return { crlMarks: marks, vouched: countVouched(seenLists) };
}

/** How many lists have a verified signature. */
export const countVouched = (lists: TrustStoreContext["seenLists"]): number =>
  [...lists?.values() ?? []].flat().filter((list) => (verifierOf(list) ?? list.vouchedBy) !== undefined).length;
