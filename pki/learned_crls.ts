/**
 * Which lists of the state directory count: those that the network brought, and those that an earlier process kept.
 *
 * @module
 */
import { compareNumbers, type HeldCrl, keyOfCrl } from "./crl.ts";
import { type CrlHighWaterMarks, type CrlMark, placeOf } from "./crl_marks.ts";
import { scopeName } from "./crl_scope.ts";

/** Where the lists lay, and what is known of their issuer. */
export interface LearnedTerms {
  /** The trust domain, as marks name it. */
  readonly domain: string;
  /** The issuer's key that the file is named for. */
  readonly key: string;
  readonly marks: CrlHighWaterMarks;
  /** `lost`: there are no marks to compare with, because their file was damaged. */
  readonly marksFile: "read" | "lost";
  readonly at: Date;
}

/** The lists that count, and what came of the others. */
export interface Learned {
  readonly lists: readonly HeldCrl[];
  /** When the first list that lies ahead comes into force, in milliseconds since the epoch. */
  readonly dueAt: number | undefined;
  /** Lists that no CA of the domain signed. */
  readonly strangers: number;
}

/**
 * Selects them. A list counts if a CA of the domain signed it, or, where its CA comes with peers only, if it is not newer than its
 * mark: an earlier process used it. Another could freeze its issuer by a high number that is not signed.
 *
 * A new list that is dated ahead waits: it would make all others of its issuer old.
 *
 * @param lists As a `CrlReader` with the domain's CAs read them.
 */
export function admitLearned(lists: readonly HeldCrl[], terms: LearnedTerms): Learned {
  const found = lists.map((list) => {
    const key = keyOfCrl(list) ?? terms.key;
    const mark = terms.marks[placeOf(terms.domain, key, scopeName(list.scope))];
    return { list, isKnown: isMarked(list, mark), isVerified: keyOfCrl(list) !== undefined };
  });
  const wasRead = terms.marksFile === "read";
  const [own, strangers] = split(found, ({ isVerified, isKnown }) => isVerified || isKnown || !wasRead);
  const [counting, ahead] = split(own, ({ list, isKnown }) => isKnown || !wasRead || list.thisUpdate <= terms.at);
  const dates = ahead.map(({ list }) => list.thisUpdate.getTime());
  return {
    lists: counting.map(({ list, isVerified }) => ({
      ...list,
      ...(isVerified ? {} : { vouchedBy: terms.key }),
      ...(wasRead ? { learned: true } : {}),
    })),
    dueAt: dates.length === 0 ? undefined : Math.min(...dates),
    strangers: strangers.length,
  };
}

/** Whether a list is not newer than its mark. */
function isMarked({ number, thisUpdate }: HeldCrl, mark: CrlMark | undefined): boolean {
  if (mark === undefined) return false;
  if (number === undefined) return mark.number !== undefined || thisUpdate.getTime() <= (mark.thisUpdate ?? -Infinity);
  return [mark.number, mark.unapplied].some((marked) => marked !== undefined && compareNumbers(number, marked) <= 0);
}

function split<Item>(items: readonly Item[], belongs: (item: Item) => boolean): readonly [Item[], Item[]] {
  return [items.filter(belongs), items.filter((item) => !belongs(item))];
}
