/**
 * Tables of a configuration as the actors see them: the schema's own keys in camel case.
 *
 * @module
 */

/** `max_batch_size` and `learning-rate` as `maxBatchSize` and `learningRate`. */
export type Camel<Key> = Key extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}`
  : Key extends `${infer Head}-${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}`
  : Key extends string ? Key
  : never;

/** A value of a configuration with the keys of its tables in camel case. */
export type Camelled<Value> = Value extends readonly unknown[] ? { [Index in keyof Value]: Camelled<Value[Index]> }
  : Value extends object ? { [Key in keyof Value as Camel<Key>]: Camelled<Value[Key]> }
  : Value;

/** A table with every key that its schema knows: an optional key without a default is undefined. */
export type Settings<Table, Undefined extends PropertyKey = never> = {
  readonly [Key in keyof Camelled<Required<Table>>]:
    | Camelled<Required<Table>>[Key]
    | (Key extends Undefined ? undefined : never);
};

/** Spells the keys of a value's tables in camel case. A schema has named them all. */
export function camelled<const Value>(value: Value): Camelled<Value> {
  return spelt(value) as Camelled<Value>;
}

function spelt(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(spelt);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [camel(key), spelt(each)]));
}

const camel = (key: string) => key.replace(/[_-]([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** The table under a key of values that may be invalid; empty where there is none. */
export function tableAt(values: Readonly<Record<string, unknown>>, key: string): Readonly<Record<string, unknown>> {
  const table = values[key];
  return typeof table === "object" && table !== null ? table as Readonly<Record<string, unknown>> : {};
}

/** The value as TOML. */
export function tomlOf(value: string | number | boolean | readonly (string | number)[]): string {
  return Array.isArray(value) ? `[${value.map((each) => JSON.stringify(each)).join(", ")}]` : JSON.stringify(value);
}
