/**
 * Whose configuration a file is, by the keys that only one role has.
 *
 * @module
 */
import { SchemaAST } from "effect";
import type { Role } from "../../pki/certificate.ts";
import type { Locations } from "./locate.ts";
import type { ConfigProblem } from "./problem.ts";
import { roleSchemas } from "./schema.ts";

/** What a node of this role is called. */
export const nounOf = (role: Role): string => role === "data" ? "data node" : role;

const roles: readonly Role[] = ["gateway", "scheduler", "worker", "data"];

const namesOf = (role: Role): readonly string[] => Object.keys(roleSchemas[role].fields);

/** Keys that no other role has. */
const ownKeys = new Map(roles.map((role) => [
  role,
  namesOf(role).filter((name) => roles.every((other) => other === role || !namesOf(other).includes(name))),
]));

/** Keys at the top that a role knows not, and those that it needs and that are not there. */
function misfit(role: Role, values: Readonly<Record<string, unknown>>): number {
  const unknown = Object.keys(values).filter((name) => !namesOf(role).includes(name));
  const { ast } = roleSchemas[role];
  const missing = ast.propertySignatures.filter(({ name, type }) =>
    !SchemaAST.isOptional(type) && !Object.hasOwn(values, String(name))
  );
  return unknown.length + missing.length;
}

/**
 * The one problem of a file that is another role's configuration, in place of all keys that this role does not know and
 * all that it lacks; undefined where the file fits this role better.
 *
 * @param values Of the file alone: an environment may be shared by several roles.
 */
export function problemOfOtherRole(
  role: Role,
  values: Readonly<Record<string, unknown>>,
  { file, locations }: { readonly file: string; readonly locations: Locations },
): ConfigProblem | undefined {
  const own = misfit(role, values);
  const [other, sign] = roles.flatMap((each): [Role, string][] => {
    const name = signOf(each, values);
    return each !== role && name !== undefined && misfit(each, values) < own ? [[each, name]] : [];
  })[0] ?? [];
  if (other === undefined || sign === undefined) return undefined;
  const { line, column } = locations.key([sign]) ?? { line: 1, column: 1 };
  return {
    origin: { type: "file", file, line, column },
    key: "",
    wrong: `this is a ${nounOf(other)}'s configuration: run it with hypha-${other}`,
    expected: "",
    mend: "",
  };
}

/** Whether a problem is the one that {@linkcode problemOfOtherRole} makes: the file is good, for another role. */
export function isOfOtherRole({ key, expected, mend }: ConfigProblem): boolean {
  return key === "" && expected === "" && mend === "";
}

/** A key that only this role has. A gateway has none: its sign is that it lacks nothing, and has addresses to announce. */
function signOf(role: Role, values: Readonly<Record<string, unknown>>): string | undefined {
  if (role !== "gateway") return (ownKeys.get(role) ?? []).find((name) => Object.hasOwn(values, name));
  return Object.hasOwn(values, "external_addresses") && misfit(role, values) === 0 ? "external_addresses" : undefined;
}
