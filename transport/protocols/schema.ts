/**
 * A message's shape, described once, serves four ways: CBOR out, CBOR in, JSON in, JSON out. In memory a value has the
 * shape it has in JSON (`messages.ts`).
 *
 * Reading follows the existing nodes' readers (`docs/wire.md`, "CBOR"): keys in any order, unknown keys ignored, a
 * missing optional read as null, floats of exactly the written width, and inside an enum that is tagged by a key
 * ("buffered": its entries are read before the variant is known) floats of 4 and 8 bytes and integers alike.
 *
 * @module
 */
import { Result } from "effect";
import { type CborItem, readCbor, type ReadCounts } from "./cbor_reader.ts";
import { CborWriter, type FloatStyle } from "./cbor_writer.ts";
import { attempt, MalformedMessage, quoted } from "./malformed.ts";
import { type Shape, shapeFields } from "./shape.ts";

/** Where a reader is, for its rules and for its errors. */
export interface At {
  /** How the other side writes. */
  readonly floats: FloatStyle;
  /** Inside an enum tagged by a key. */
  readonly buffered: boolean;
  /** What reading took so far. */
  readonly counts: ReadCounts;
  key(name: string | number): At;
  buffer(): At;
  fail(reason: string): never;
}

/** One shape. `T` is what it is in memory. */
export interface Schema<T> {
  write(out: CborWriter, value: T): void;
  read(item: CborItem, at: At): T;
  fromJson(value: unknown, at: At): T;
  toJson(value: T): string;
  /** What a struct does with this field where it is null or missing; without it the field is required. */
  readonly absent?: "null" | "left-out";
  /** What it is in JSON, for documents. */
  readonly shape?: Shape;
}

/** A struct's shape: enums tagged by a key put their tag in front of its fields. */
export interface StructSchema<T> extends Schema<T> {
  readonly fields: readonly (readonly [key: string, schema: Schema<unknown>])[];
}

/** Encodes in the style of the protocol. The value is ours: a wrong shape is a programmer's mistake. */
export function toCbor<T>(schema: Schema<T>, value: T, floats: FloatStyle): Uint8Array<ArrayBuffer> {
  const out = new CborWriter(floats);
  schema.write(out, value);
  return out.finish();
}

/**
 * Decodes one message. Bytes after it are ignored in request/response and refused in gossip, as the existing nodes do.
 *
 * @param counts Grows with what is read, also where that fails.
 */
export function fromCbor<T>(
  schema: Schema<T>,
  bytes: Uint8Array,
  floats: FloatStyle,
  counts: ReadCounts = { items: 0, peers: 0 },
): Result.Result<T, MalformedMessage> {
  return attempt(() => {
    const at = position(floats, counts);
    const { item, sizeBytes } = readCbor(bytes, counts);
    if (floats === "shortest" && sizeBytes !== bytes.length) at.fail("bytes after the message");
    return schema.read(item, at);
  });
}

/**
 * Takes a value that `JSON.parse` gave for a message.
 *
 * @example A status, and a wrong one
 * ```ts
 * import * as assert from "uvu/assert";
 * import { Result } from "effect";
 * import { fromJson, progressSchema } from "./mod.ts";
 *
 * assert.ok(Result.isSuccess(fromJson(progressSchema, { status: { batch_size: 32 } })));
 * const wrong = fromJson(progressSchema, { status: { batch_size: -1 } });
 * assert.is(Result.isFailure(wrong) && wrong.failure.path, "status.batch_size");
 * ```
 */
export function fromJson<T>(schema: Schema<T>, value: unknown): Result.Result<T, MalformedMessage> {
  return attempt(() => schema.fromJson(value, position("exact", { items: 0, peers: 0 })));
}

/** A message as JSON, byte for byte as the existing nodes write it: floats keep a decimal point (`1.0`). */
export function toJson<T>(schema: Schema<T>, value: T): string {
  return schema.toJson(value);
}

function position(floats: FloatStyle, counts: ReadCounts, path = "", buffered = false): At {
  return {
    floats,
    buffered,
    counts,
    key: (name) => {
      const inner = typeof name === "number" ? `${path}[${name}]` : path === "" ? name : `${path}.${name}`;
      return position(floats, counts, inner, buffered);
    },
    buffer: () => position(floats, counts, path, true),
    fail: (reason) => {
      throw new MalformedMessage({ path, reason });
    },
  };
}

// ── Structs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Written as null where absent; reads as null where missing. */
export function nullable<T>(schema: Schema<T>): Schema<T | null> {
  return {
    absent: "null",
    ...(schema.shape === undefined ? {} : { shape: schema.shape }),
    write: (out, value) => value === null ? out.null() : schema.write(out, value),
    read: (item, at) => item.kind === "null" ? null : schema.read(item, at),
    fromJson: (value, at) => value === null || value === undefined ? null : schema.fromJson(value, at),
    toJson: (value) => value === null ? "null" : schema.toJson(value),
  };
}

/** Left out where it is absent or null; the key is not there in memory either. */
export function omittable<T>(schema: Schema<T>): Schema<T> {
  return { ...schema, absent: "left-out" };
}

/** A map with text keys, written in the order of the fields. */
export function struct<T extends object>(fields: { readonly [K in keyof T]-?: Schema<T[K]> }): StructSchema<T> {
  const list = Object.entries(fields) as [string, Schema<unknown>][];
  return {
    fields: list,
    shape: { fields: shapeFields(list) },
    write: (out, value) => {
      const present = presentFields(list, value);
      out.map(present.length);
      writeFields(out, present, value);
    },
    read: (item, at) => {
      // An empty list stands for an empty struct: the existing nodes answer it.
      if (list.length === 0 && item.kind === "list" && item.items.length === 0) return {} as T;
      return readFields(list, entriesOf(item, at), at) as T;
    },
    fromJson: (value, at) => fieldsFromJson(list, objectOf(value, at), at) as T,
    toJson: (value) => `{${fieldsToJson(list, value)}}`,
  };
}

function presentFields(list: StructSchema<unknown>["fields"], value: object): StructSchema<unknown>["fields"] {
  const record = value as Record<string, unknown>;
  return list.filter(([key, { absent }]) =>
    absent !== "left-out" || (record[key] !== undefined && record[key] !== null)
  );
}

function writeFields(out: CborWriter, list: StructSchema<unknown>["fields"], value: object): void {
  for (const [key, schema] of list) {
    out.text(key);
    schema.write(out, (value as Record<string, unknown>)[key]);
  }
}

function fieldsToJson(list: StructSchema<unknown>["fields"], value: object): string {
  return presentFields(list, value)
    .map(([key, schema]) => `${JSON.stringify(key)}:${schema.toJson((value as Record<string, unknown>)[key])}`)
    .join(",");
}

type Entries = ReadonlyMap<string, CborItem>;

function entriesOf(item: CborItem, at: At): Entries {
  if (item.kind !== "map") return at.fail(`expected a map, got ${item.kind}`);
  if (!item.definite && at.floats === "shortest") return at.fail("expected a map of definite length");
  const entries = new Map<string, CborItem>();
  for (const [key, value] of item.entries) {
    if (key.kind !== "text") return at.fail(`expected text as key, got ${key.kind}`);
    entries.set(key.value, value);
  }
  return entries;
}

function readFields(list: StructSchema<unknown>["fields"], entries: Entries, at: At): Record<string, unknown> {
  const value: Record<string, unknown> = {};
  for (const [key, schema] of list) {
    const item = entries.get(key);
    const absent = item === undefined || item.kind === "null";
    if (absent && schema.absent === "left-out") continue;
    if (item === undefined && schema.absent === undefined) return at.key(key).fail("missing");
    value[key] = absent && schema.absent === "null" ? null : schema.read(item as CborItem, at.key(key));
  }
  return value;
}

function objectOf(value: unknown, at: At): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return at.fail(`expected an object, got ${jsonKind(value)}`);
  }
  return value as Record<string, unknown>;
}

function fieldsFromJson(
  list: StructSchema<unknown>["fields"],
  from: Readonly<Record<string, unknown>>,
  at: At,
): Record<string, unknown> {
  const value: Record<string, unknown> = {};
  for (const [key, schema] of list) {
    const found = Object.hasOwn(from, key) ? from[key] : undefined;
    const absent = found === undefined || found === null;
    if (absent && schema.absent === "left-out") continue;
    if (found === undefined && schema.absent === undefined) return at.key(key).fail("missing");
    value[key] = absent && schema.absent === "null" ? null : schema.fromJson(found, at.key(key));
  }
  return value;
}

/** What a JSON value is, for an error. */
export function jsonKind(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
}

// ── Enums ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/**
 * An enum whose variant with content is a one-entry map `{ Variant: content }` and whose variant without is the bare
 * name. The map must be of definite length.
 */
export function externallyTagged<T>(
  variants: Readonly<Record<string, Schema<unknown>>>,
  names: readonly string[] = [],
): Schema<T> {
  const schemas = new Map(Object.entries(variants));
  const single = (keys: readonly string[], at: At): string => {
    const [name] = keys;
    if (name === undefined || keys.length !== 1) return at.fail(`expected one variant, got ${keys.length}`);
    return name;
  };
  const find = (name: string, at: At): Schema<unknown> =>
    schemas.get(name) ?? at.fail(`unknown variant ${quoted(name)}`);
  const contents = Object.entries(variants).map(([key, { shape = "value" }]) => ({ fields: [{ key, shape }] }));
  const bare = (name: string, at: At): T =>
    (names.includes(name) ? name : at.fail(`unknown variant ${quoted(name)}`)) as T;
  const parts = (value: T): [string, Schema<unknown>, unknown] => {
    const [entry] = Object.entries(value as object);
    const schema = entry === undefined ? undefined : schemas.get(entry[0]);
    if (entry === undefined || schema === undefined) throw new TypeError("Cannot encode message: unknown variant");
    return [entry[0], schema, entry[1]];
  };
  return {
    shape: { variants: [...contents, ...names.map((name) => JSON.stringify(name))] },
    write: (out, value) => {
      if (typeof value === "string") return out.text(value);
      const [name, schema, content] = parts(value);
      out.map(1);
      out.text(name);
      schema.write(out, content);
    },
    read: (item, at) => {
      if (item.kind === "text") return bare(item.value, at);
      if (item.kind === "map" && !item.definite) return at.fail("expected an enum's map of definite length");
      const entries = entriesOf(item, at);
      const name = single([...entries.keys()], at);
      return { [name]: find(name, at).read(entries.get(name) as CborItem, at.key(name)) } as T;
    },
    fromJson: (value, at) => {
      if (typeof value === "string") return bare(value, at);
      const from = objectOf(value, at);
      const name = single(Object.keys(from), at);
      return { [name]: find(name, at).fromJson(from[name], at.key(name)) } as T;
    },
    toJson: (value) => {
      if (typeof value === "string") return JSON.stringify(value);
      const [name, schema, content] = parts(value);
      return `{${JSON.stringify(name)}:${schema.toJson(content)}}`;
    },
  };
}

/** An enum whose variant is named by the entry `tag`, which is written first, before the content's own entries. */
export function taggedBy<T>(
  tag: string,
  variants: Readonly<Record<string, { readonly fields: StructSchema<unknown>["fields"] }>>,
): Schema<T> {
  const known = new Map(Object.entries(variants));
  const find = (name: unknown, at: At): StructSchema<unknown>["fields"] => {
    if (typeof name !== "string") return at.key(tag).fail(name === undefined ? "missing" : "expected text");
    return known.get(name)?.fields ?? at.key(tag).fail(`unknown variant ${quoted(name)}`);
  };
  const parts = (value: T): [string, StructSchema<unknown>["fields"], object] => {
    const name = String((value as Record<string, unknown>)[tag]);
    const fields = known.get(name)?.fields;
    if (fields === undefined) throw new TypeError(`Cannot encode message: unknown variant ${quoted(name)}`);
    return [name, fields, value as object];
  };
  const shapes = Object.entries(variants).map(([name, { fields }]) => ({
    fields: [{ key: tag, shape: JSON.stringify(name) }, ...shapeFields(fields)],
  }));
  return {
    shape: { variants: shapes },
    write: (out, value) => {
      const [name, fields, content] = parts(value);
      const present = presentFields(fields, content);
      out.map(present.length + 1);
      out.text(tag);
      out.text(name);
      writeFields(out, present, content);
    },
    read: (item, at) => {
      const entries = entriesOf(item, at);
      const named = entries.get(tag);
      const name = named?.kind === "text" ? named.value : named;
      const fields = find(name, at);
      return { [tag]: name, ...readFields(fields, entries, at.buffer()) } as T;
    },
    fromJson: (value, at) => {
      const from = objectOf(value, at);
      const name = Object.hasOwn(from, tag) ? from[tag] : undefined;
      return { [tag]: name, ...fieldsFromJson(find(name, at), from, at.buffer()) } as T;
    },
    toJson: (value) => {
      const [name, fields, content] = parts(value);
      const rest = fieldsToJson(fields, content);
      return `{${JSON.stringify(tag)}:${JSON.stringify(name)}${rest === "" ? "" : `,${rest}`}}`;
    },
  };
}

// ── Collections ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** A list, of exactly `count` items or at most `max` where that is given; judged before the items are read. */
export function list<T>(
  schema: Schema<T>,
  { count, max = Number.POSITIVE_INFINITY }: { readonly count?: number; readonly max?: number } = {},
): Schema<readonly T[]> {
  const checked = ({ length }: readonly unknown[], at: At) => {
    if (count !== undefined && length !== count) at.fail(`expected ${count} items, got ${length}`);
    if (length > max) at.fail(`expected at most ${max} items, got ${length}`);
  };
  return {
    shape: { list: schema.shape ?? "value", count },
    write: (out, value) => {
      out.list(value.length);
      for (const item of value) schema.write(out, item);
    },
    read: (item, at) => {
      if (item.kind !== "list") return at.fail(`expected a list, got ${item.kind}`);
      if (!item.definite && at.floats === "shortest") return at.fail("expected a list of definite length");
      checked(item.items, at);
      return item.items.map((each, i) => schema.read(each, at.key(i)));
    },
    fromJson: (value, at) => {
      if (!Array.isArray(value)) return at.fail(`expected an array, got ${jsonKind(value)}`);
      checked(value, at);
      return value.map((each, i) => schema.fromJson(each, at.key(i)));
    },
    toJson: (value) => `[${value.map((each) => schema.toJson(each)).join(",")}]`,
  };
}

/** A map from any text to one kind of value, in the order it came. */
export function dictionary<T>(schema: Schema<T>): Schema<Readonly<Record<string, T>>> {
  // A prototype-less object: `__proto__` is a name like any other here.
  const from = (entries: Iterable<readonly [string, T]>): Record<string, T> => {
    const value: Record<string, T> = Object.create(null);
    for (const [key, each] of entries) value[key] = each;
    return value;
  };
  return {
    shape: { map: schema.shape ?? "value" },
    write: (out, value) => {
      const entries = Object.entries(value);
      out.map(entries.length);
      for (const [key, each] of entries) {
        out.text(key);
        schema.write(out, each);
      }
    },
    read: (item, at) => from([...entriesOf(item, at)].map(([key, each]) => [key, schema.read(each, at.key(key))])),
    fromJson: (value, at) =>
      from(Object.entries(objectOf(value, at)).map(([key, each]) => [key, schema.fromJson(each, at.key(key))])),
    toJson: (value) =>
      `{${Object.entries(value).map(([key, each]) => `${JSON.stringify(key)}:${schema.toJson(each)}`).join(",")}}`,
  };
}

/** A value that must also pass a check of its own, which says what is wrong. */
export function checked<T>(schema: Schema<T>, problem: (value: T) => string | undefined): Schema<T> {
  const check = (value: T, at: At): T => {
    const wrong = problem(value);
    return wrong === undefined ? value : at.fail(wrong);
  };
  return {
    ...schema,
    read: (item, at) => check(schema.read(item, at), at),
    fromJson: (value, at) => check(schema.fromJson(value, at), at),
  };
}
