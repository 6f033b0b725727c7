/**
 * The keys of a role, from its schema: their names in TOML, in the environment and on the command line.
 *
 * @module
 */
import { SchemaAST } from "effect";
import type { Role } from "../../pki/certificate.ts";
import { flagAliasesOf, formerNamesOf } from "./aliases.ts";
import { type KeyNote, roleSchemas } from "./schema.ts";

/** How a value is written outside TOML. `tables` are written as JSON. */
export type KeyKind = "text" | "number" | "boolean" | "texts" | "numbers" | "tables";

/** One key that has a value of its own. */
export interface ConfigKey extends KeyNote {
  /** Such as `["offer", "price"]`. */
  readonly path: readonly string[];
  /** Such as `offer.price`. */
  readonly key: string;
  /** Such as `HYPHA_OFFER__PRICE`. */
  readonly variable: string;
  /** Such as `offer-price`. */
  readonly flag: string;
  /** Further flags, such as `gateway` for `gateway-addresses`. */
  readonly flagAliases: readonly string[];
  /** Former names in TOML, in the same table. */
  readonly formerNames: readonly string[];
  readonly kind: KeyKind;
  readonly optional: boolean;
}

/** The note of a role's schema for a path: of a key or a table. Numbers in the path are list entries. */
export interface PathNote extends Partial<KeyNote> {
  /** The names known in the table at this path; empty for values. */
  readonly names: readonly string[];
  readonly kind: "value" | "table" | "list";
  /** Whether it may be left out of the table around it. */
  readonly optional: boolean;
}

/** Every key of a role, in the order in which the schema has them. */
export function keysOf(role: Role): readonly ConfigKey[] {
  const found: ConfigKey[] = [];
  collect(roleSchemas[role].ast, [], false, found);
  return found;
}

/** The note of `role`'s schema for `path`; undefined where it has no such path. */
export function noteAt(role: Role, path: readonly PropertyKey[]): PathNote | undefined {
  let ast: SchemaAST.AST | undefined = roleSchemas[role].ast;
  for (const step of path) {
    if (ast === undefined) return undefined;
    if (SchemaAST.isObjects(ast)) ast = ast.propertySignatures.find(({ name }) => name === step)?.type;
    else if (SchemaAST.isArrays(ast) && typeof step === "number") ast = ast.elements[step] ?? ast.rest[0];
    else return undefined;
  }
  if (ast === undefined) return undefined;
  const names = SchemaAST.isObjects(ast) ? ast.propertySignatures.map(({ name }) => String(name)) : [];
  const kind = SchemaAST.isObjects(ast) ? "table" : SchemaAST.isArrays(ast) ? "list" : "value";
  return {
    ...(SchemaAST.resolve(ast) as Partial<KeyNote> | undefined),
    names,
    kind,
    optional: SchemaAST.isOptional(ast),
  };
}

function collect(ast: SchemaAST.AST, path: readonly string[], optional: boolean, found: ConfigKey[]): void {
  const here = isWhole(path) ? false : optional || SchemaAST.isOptional(ast);
  if (SchemaAST.isObjects(ast)) {
    for (const { name, type } of ast.propertySignatures) collect(type, [...path, String(name)], here, found);
    return;
  }
  found.push({
    ...(SchemaAST.resolve(ast) as unknown as KeyNote),
    path,
    key: path.join("."),
    variable: `HYPHA_${path.map((part) => part.toUpperCase().replaceAll("-", "_")).join("__")}`,
    flag: path.join("-").replaceAll("_", "-"),
    flagAliases: flagAliasesOf(path),
    formerNames: formerNamesOf(path),
    kind: keyKindOf(ast),
    optional: here,
  });
}

/** A scheduler without a job waits for one; a job that is there is whole. */
const isWhole = (path: readonly string[]): boolean => ["scheduler", "scheduler.job"].includes(path.join("."));

function keyKindOf(ast: SchemaAST.AST): KeyKind {
  if (SchemaAST.isNumber(ast)) return "number";
  if (SchemaAST.isBoolean(ast)) return "boolean";
  if (!SchemaAST.isArrays(ast)) return "text";
  const item = ast.elements[0] ?? ast.rest[0];
  if (item !== undefined && SchemaAST.isObjects(item)) return "tables";
  return item !== undefined && SchemaAST.isNumber(item) ? "numbers" : "texts";
}
