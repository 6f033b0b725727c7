/**
 * Building blocks of the configuration's schemas: types of values, each with its text for messages, `init`, the command
 * line and `docs/configuration.md`.
 *
 * @module
 */
import { Schema } from "effect";
import { readCidr } from "../../transport/ip_ranges.ts";
import { type AddressUse, isQuic, readAddress } from "./addresses.ts";

/** What the schema records of a key in addition to its type. */
export interface KeyNote {
  /** Continues the sentence "expected …". */
  readonly expected: string;
  /** A value as TOML. */
  readonly example: string;
  readonly description: string;
  /** Never shown in a message. */
  readonly secret?: boolean;
  /** The default in words, where it is not `example`. */
  readonly standard?: string;
  /** The values that it may have, where they are few enough to guess which one was meant. */
  readonly literals?: readonly string[];
}

/** Adds a note to a schema. */
export const note = <S extends Schema.Top>(schema: S, said: KeyNote): S["Rebuild"] => schema.annotate({ ...said });
export const optional: typeof Schema.optionalKey = Schema.optionalKey;

/** Longest text taken as a value, in characters: paths are at most 4,096 (Linux PATH_MAX). */
export const textCharactersMax = 4_096;
/** Most entries taken in any list. */
export const entriesMax = 256;

export const text = (said: KeyNote) =>
  note(Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(textCharactersMax)), said);
/** Text that `read` accepts; a string that it returns is the complaint. */
export const readable = (read: (value: string) => unknown, said: KeyNote) =>
  note(
    Schema.String.check(
      Schema.isMinLength(1),
      Schema.isMaxLength(textCharactersMax),
      Schema.makeFilter((value: string) => {
        const outcome = read(value);
        return typeof outcome === "string" ? outcome : undefined;
      }),
    ),
    said,
  );
/** A path. Nothing expands `~`: the shell does that, and no shell reads this file. */
export const path = (description: string, example: string, expected = "the path of a file", standard?: string) =>
  readable(
    (value) => value.startsWith("~") ? "begins with ~, which is not expanded" : { value },
    { expected, example, description, ...(standard === undefined ? {} : { standard }) },
  );
export const integer = (minimum: number, maximum: number, example: string, description: string, standard?: string) =>
  note(Schema.Int.check(Schema.isBetween({ minimum, maximum })), {
    expected: `a whole number from ${minimum} to ${maximum}`,
    example,
    description,
    ...(standard === undefined ? {} : { standard }),
  });
export const amount = (example: string, description: string, expected = "a number, 0 or more") =>
  note(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)), { expected, example, description });
export const between = ([minimum, maximum]: readonly [number, number], example: string, description: string) =>
  note(Schema.Finite.check(Schema.isBetween({ minimum, maximum })), {
    expected: `a number from ${minimum} to ${maximum}`,
    example,
    description,
  });
export const fraction = (example: string, description: string) =>
  note(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })), {
    expected: "a number from 0 to 1",
    example,
    description,
  });
export const flag = (example: string, description: string) =>
  note(Schema.Boolean, { expected: "true or false", example, description });
export const oneOf = <const L extends readonly string[]>(
  literals: L,
  example: string,
  description: string,
  more: Partial<KeyNote> = {},
) =>
  note(Schema.Literals(literals), {
    expected: `one of ${literals.map((literal) => JSON.stringify(literal)).join(", ")}`,
    example,
    description,
    literals,
    ...more,
  });
export const list = <S extends Schema.Top>(item: S, said: KeyNote) =>
  note(Schema.Array(item).check(Schema.isMaxLength(entriesMax)), said);

/** An address of `use`, or one of QUIC, which is skipped; the complaint names the problem. */
const address = (use: AddressUse, expected: string, example: string) =>
  note(
    Schema.String.check(Schema.makeFilter((value: string) => {
      const read = readAddress(value, use);
      return typeof read === "string" && !isQuic(value) ? read : undefined;
    })),
    { expected, example, description: "" },
  );
export const addresses = (
  use: AddressUse,
  expected: string,
  example: string,
  description: string,
  standard?: string,
) =>
  list(address(use, `an address ${expected}`, example.slice(1, -1)), {
    expected: `a list of addresses, each ${expected}`,
    example,
    description,
    ...(standard === undefined ? {} : { standard }),
  });

export const cidr = note(
  Schema.String.check(Schema.makeFilter((value: string) => {
    const read = readCidr(value);
    return typeof read === "string" ? read : undefined;
  })),
  { expected: "an address range such as 10.0.0.0/8", example: '"10.0.0.0/8"', description: "" },
);
