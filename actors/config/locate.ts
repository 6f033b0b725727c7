/**
 * The position of each key and value in a TOML text. Another parser reads the values; this one knows positions.
 *
 * @module
 */
import { type AST, parseTOML } from "toml-eslint-parser";

/** Counted from 1, in UTF-16 code units, as editors do. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** A path into the document; numbers are entries of lists. */
export type KeyPath = readonly PropertyKey[];

/** Positions of a document's keys and values. */
export interface Locations {
  /** Where the key at `path` is written; of a table, where its name is. */
  key(path: KeyPath): Position | undefined;
  /** Where the value at `path` begins. */
  value(path: KeyPath): Position | undefined;
}

/**
 * Locates every key and value of `text`.
 *
 * @returns Positions, none of them where the text is not TOML: its syntax error has a position of its own.
 */
export function locateKeys(text: string): Locations {
  const keys = new Map<string, Position>();
  const values = new Map<string, Position>();
  const found = { keys, values };
  try {
    for (const node of parseTOML(text, { tomlVersion: "latest" }).body[0].body) {
      if (node.type === "TOMLKeyValue") locatePair(node, [], found);
      else locateTable(node, found);
    }
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return { key: (path) => keys.get(nameOf(path)), value: (path) => values.get(nameOf(path)) };
}

interface Found {
  readonly keys: Map<string, Position>;
  readonly values: Map<string, Position>;
}

const nameOf = (path: KeyPath): string => JSON.stringify(path);

const startOf = ({ loc }: AST.HasLocs): Position => ({ line: loc.start.line, column: loc.start.column + 1 });

/** The first mention wins: `[a.b]` gives `a` a position only where nothing before it did. */
function note(map: Map<string, Position>, path: KeyPath, position: Position): void {
  const name = nameOf(path);
  if (!map.has(name)) map.set(name, position);
}

function locateTable(table: AST.TOMLTable, found: Found): void {
  const position = startOf(table);
  for (let length = 1; length <= table.resolvedKey.length; length++) {
    note(found.keys, table.resolvedKey.slice(0, length), position);
    note(found.values, table.resolvedKey.slice(0, length), position);
  }
  for (const pair of table.body) locatePair(pair, table.resolvedKey, found);
}

function locatePair(pair: AST.TOMLKeyValue, parent: KeyPath, found: Found): void {
  let path = parent;
  for (const key of pair.key.keys) {
    path = [...path, key.type === "TOMLBare" ? key.name : key.value];
    note(found.keys, path, startOf(key));
    note(found.values, path, startOf(pair.value));
  }
  locateValue(pair.value, path, found);
}

function locateValue(value: AST.TOMLContentNode, path: KeyPath, found: Found): void {
  note(found.values, path, startOf(value));
  if (value.type === "TOMLArray") {
    for (const [index, element] of value.elements.entries()) locateValue(element, [...path, index], found);
  } else if (value.type === "TOMLInlineTable") {
    for (const pair of value.body) locatePair(pair, path, found);
  }
}
