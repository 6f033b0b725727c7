/**
 * The table of what cells hold, for `docs/security.md`, made from `outcomes.json`.
 *
 * @module
 */
import { aligned } from "../aligned.ts";
import { type Outcome, outcomes, places } from "./expected.ts";

/** Around the table in `docs/security.md`. */
export const begin = "<!-- cells: made by `npm run outcomes` -->";
export const end = "<!-- /cells -->";

const headings: Readonly<Record<(typeof places)[number], string>> = {
  "full/root": "full, root",
  "root/root": "root",
  "namespaces/root": "namespaces, root",
  "bare/root": "bare, root",
  "full/user": "full, user",
  "namespaces/user": "namespaces, user",
  "bare/user": "bare, user",
};

/** Attacks that are held everywhere share a row. Attacks that are not held have a reason below the table. */
export function tableOf(all: ReadonlyMap<string, Outcome> = outcomes): string {
  const reasons = [...new Set([...all.values()].flatMap(({ notHeld }) => Object.values(notHeld)))];
  const everywhere = [...all].filter(([, { notHeld }]) => Object.keys(notHeld).length === 0).map(([id]) => id);
  const rows = [...all].filter(([id]) => !everywhere.includes(id)).map(([id, { held, notHeld }]) => [
    `\`${id}\``,
    ...places.map((place) => {
      const reason = notHeld[place];
      return reason !== undefined ? `**no** (${reasons.indexOf(reason) + 1})` : held.includes(place) ? "held" : "?";
    }),
  ]);
  const table = [
    ["attack", ...places.map((place) => headings[place])],
    [`${everywhere.length} others`, ...places.map(() => "held")],
    ...rows,
  ];
  return [
    aligned(table),
    "",
    ...reasons.map((reason, at) => `${at + 1}. ${reason}`),
    "",
    `Held at every level: ${everywhere.map((id) => `\`${id}\``).join(", ")}.`,
  ].join("\n");
}

/** A page with the table put between its marks, by default those of the cells; undefined where it has none. */
export function withTable(page: string, table: string, marks = { begin, end }): string | undefined {
  const { begin, end } = marks;
  const from = page.indexOf(begin), to = page.indexOf(end);
  if (from < 0 || to < from) return undefined;
  return `${page.slice(0, from + begin.length)}\n\n${table}\n\n${page.slice(to)}`;
}
