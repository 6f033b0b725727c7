/**
 * The marks and lists that the trust store gives the keeper to write to disk.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { type HeldCrl, verifierOf } from "../../pki/crl.ts";
import { domainKey, raiseMarks } from "../../pki/crl_marks.ts";
import type { HeldFile, KeepSource } from "../files/keep_crls.ts";
import type { LearnedFile, LearnedFiles } from "../files/read_learned.ts";
import type { CrlKeeperEvent, CrlsKept } from "./crl_keeper.ts";
import type { TrustStoreContext } from "./trust_store.ts";

/** The keeper's input. */
export const keeperInput = ({ ports, stateDir, timing: { keepRetryMs } }: TrustStoreContext) => ({
  ports,
  stateDir,
  retryMs: keepRetryMs,
});

/** The marks and lists to keep on disk. */
export function keepWork({ crlMarks, seenLists, learned, sources, paths }: TrustStoreContext): CrlKeeperEvent {
  const files = [{ name: undefined, crlsPem: paths.crlsPem }, ...paths.domains ?? []];
  const from = files.flatMap(({ name, crlsPem }): [string, KeepSource][] => {
    const source = crlsPem === undefined ? undefined : sources.lists.get(crlsPem);
    if (crlsPem === undefined || source === undefined) return [];
    const bytes = typeof source === "string" ? Buffer.from(source) : source;
    return [[domainKey(name), bytes instanceof Uint8Array ? { bytes } : { path: crlsPem }]];
  });
  const held = new Map(
    [...learned].map(([path, { hashes, signature }]) => [path, { hashes: hashes.join(" "), signature }] as const),
  );
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

/** The files as they were read, with one that the keeper wrote or removed: it needs no reading. */
export function noteKept(
  { learned, kept, seenLists }: Pick<TrustStoreContext, "learned" | "kept" | "seenLists">,
  { domain, path, held }: CrlsKept,
): Pick<TrustStoreContext, "learned" | "kept"> {
  const file = held === undefined ? undefined : keptFile(domain, held, seenLists?.get(domain) ?? []);
  const noted = new Map(kept).set(path, file);
  return { learned: withKept(learned, noted), kept: noted };
}

function keptFile(domain: string, { hashes: text, signature }: HeldFile, inForce: readonly HeldCrl[]): LearnedFile {
  const hashes = text.split(" ");
  const lists = inForce.filter(({ sha256 }) => sha256 !== undefined && hashes.includes(sha256));
  return { domain, signature, hashes, lists, dueAt: undefined, isWhole: true };
}

/** The files as a reading found them, with those that the keeper wrote or removed meanwhile. */
export function withKept(learned: LearnedFiles, kept: TrustStoreContext["kept"]): LearnedFiles {
  const next = new Map(learned);
  for (const [path, file] of kept) {
    if (file === undefined) next.delete(path);
    else next.set(path, file);
  }
  return next;
}

/** How many lists have a verified signature. */
export const countVouched = (lists: TrustStoreContext["seenLists"]): number =>
  [...lists?.values() ?? []].flat().filter((list) => (verifierOf(list) ?? list.vouchedBy) !== undefined).length;
