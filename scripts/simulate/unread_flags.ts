/**
 * Flags of `npm run simulate` that the chosen family does not read.
 *
 * @module
 */

const batch = ["seed", "runs", "minutes"];
const members = ["membership", "approvals", "hardware", ...batch, "replay", "faults"];

/** What each family reads, in the order in which it is chosen. The last needs no flag. */
const families: readonly (readonly [string | undefined, readonly string[]])[] = [
  ["membership", members],
  ["approvals", members],
  ["hardware", members],
  ["revocation", ["wide", "revocation", "seed", "runs", "nodes"]],
  ["witnesses", ["witnesses", ...batch, "replay"]],
  ["hunt", ["hunt", "seed", "runs"]],
  ["scenario", ["scenario", "trace"]],
  ["wide", ["wide", ...batch, "replay", "trace", "nodes"]],
  ["trainings", ["trainings", ...batch, "replay", "trace", "nodes", "faults"]],
  [undefined, [...batch, "replay", "trace", "nodes", "faults"]],
];

/** Flags that play one run, and do not read these. */
const ofOne: Readonly<Record<string, readonly string[]>> = { replay: batch, trace: ["runs", "minutes"] };

/** What is wrong with the flags that are given; undefined where all of them are read. */
export function unreadFlag(given: readonly string[]): string | undefined {
  const [family, read] = families.find(([name]) => name === undefined || given.includes(name)) ?? [undefined, []];
  const ofFamily = given.find((flag) => !read.includes(flag));
  if (ofFamily !== undefined) return `--${ofFamily} is not for ${family === undefined ? "these runs" : `--${family}`}`;
  for (const [one, unread] of Object.entries(ofOne)) {
    const found = given.includes(one) ? unread.find((flag) => given.includes(flag)) : undefined;
    if (found !== undefined) return `--${found} is not for --${one}`;
  }
  return undefined;
}
