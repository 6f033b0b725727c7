/**
 * The parameters of a simulated trainer: a handful of numbers, in files as real ones are.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { Effect, type Scope } from "effect";
import type { Peer, Receipt } from "../../transport/protocols/messages.ts";
import type { WorkDirectory } from "../files/contained_files.ts";
import type { PathError } from "../files/path_refused.ts";
import type { TrainerLink } from "../job/trainer_link.ts";
import { decodeTensors, encodeTensors, readHeaderLength, readLayout, writeHeader } from "../learning/safetensors.ts";
import type { RandomStream } from "../runtime/random.ts";

/** Numbers of an update: trainings of two schedulers may differ in shape. */
export const updateSizeOf = (scheduler: Peer): number => 4 + ((scheduler.at(-1)?.codePointAt(0) ?? 0) % 3);

/** The weights that a scheduler's training begins with. */
export function weightsOf(scheduler: Peer, hasIntegers = false): Uint8Array {
  const values = Float32Array.from({ length: updateSizeOf(scheduler) }, (_, at) => at / 8);
  return encodeParameters(values, hasIntegers ? Int32Array.of(7, -2_147_483_648) : undefined);
}

/** A file of a float tensor and, where a model has one, an integer tensor. */
function encodeParameters(
  values: Float32Array<ArrayBuffer>,
  integers: Int32Array<ArrayBuffer> | undefined,
): Uint8Array<ArrayBuffer> {
  if (integers === undefined) return encodeTensors(new Map([["w", { shape: [values.length], values }]]));
  const header = writeHeader([
    { name: "w", dtype: "F32", shape: [values.length] },
    { name: integersName, dtype: "I32", shape: [integers.length] },
  ]);
  return new Uint8Array(Buffer.concat([header, new Uint8Array(values.buffer), new Uint8Array(integers.buffer)]));
}

const integersName = "n";

/** The integer tensor of a file; undefined where it has none. */
export function integersIn(bytes: Uint8Array | undefined): Int32Array<ArrayBuffer> | undefined {
  if (bytes === undefined) return undefined;
  const length = readHeaderLength(bytes, bytes.length);
  if (length._tag === "Failure") return undefined;
  const layout = readLayout(bytes.subarray(8, 8 + length.success), bytes.length);
  const found = layout._tag === "Failure"
    ? undefined
    : layout.success.tensors.find(({ name }) => name === integersName);
  if (found?.dtype !== "I32") return undefined;
  return new Int32Array(bytes.slice(found.offset, found.offset + 4 * found.count).buffer);
}

/**
 * A file with the update of a model: these floats, and integers some of which make the parameters wrap around; or garbage. Where floats
 * are given, not drawn, integers follow from them.
 */
export function encodeUpdate(
  { values, integers }: Pick<HeldModel, "values" | "integers">,
  random: RandomStream,
  kind: "drawn" | "given" | "garbage",
): Uint8Array {
  if (kind === "garbage") return garbageOf(random, values);
  const integer = () => kind === "given" ? Math.round(1_000 * (values[0] ?? 0)) : random.whole(-1_000, 1_000);
  return encodeParameters(values, integers && Int32Array.from(integers, integer));
}

/** A trainer's parameters. */
export interface HeldModel {
  readonly values: Float32Array<ArrayBuffer>;
  readonly integers: Int32Array<ArrayBuffer> | undefined;
  readonly round: number;
}

/** Takes the next result; what the trainer has then. */
export function applyNext(
  link: TrainerLink,
  { values, integers }: HeldModel,
  directory: WorkDirectory,
): Effect.Effect<Receipt, PathError, Scope.Scope> {
  return Effect.gen(function* () {
    const result = yield* link.next;
    const bytes = yield* readFile(directory, result.path);
    link.handed(result);
    for (const [at, value] of valuesIn(bytes).entries()) values[at] = (values[at] ?? 0) + value;
    for (const [at, value] of integersIn(bytes)?.entries() ?? []) {
      if (integers !== undefined) integers[at] = (integers[at] ?? 0) + value;
    }
    const parameters = createHash("sha256").update(encodeParameters(values, integers)).digest("hex");
    return { round: yield* link.applied(result.round), parameters };
  });
}

/** Reads a file of the work directory. */
export function readFile(directory: WorkDirectory, path: string): Effect.Effect<Uint8Array, PathError, Scope.Scope> {
  return Effect.gen(function* () {
    const file = yield* directory.openForReading(path);
    const bytes = new Uint8Array(file.sizeBytes);
    yield* file.read(bytes, 0);
    return bytes;
  });
}

/** The parameters in a file. */
export function valuesIn(bytes: Uint8Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(numbersOf(bytes));
}

/** Random bytes, or a tensor with NaN, with another shape, or with another name. */
function garbageOf(random: RandomStream, values: Float32Array<ArrayBuffer>): Uint8Array {
  const of = (name: string, shape: readonly number[], content: Float32Array<ArrayBuffer>) =>
    encodeTensors(new Map([[name, { shape, values: content }]]));
  switch (random.whole(0, 4)) {
    case 0:
      return random.bytes(64);
    case 1:
      return of("w", [values.length], values.fill(NaN, 1, 2));
    case 2:
      return of("w", [values.length - 1], values.slice(1));
    default:
      return of("v", [values.length], values);
  }
}

/** The numbers in a file of tensors. */
export function numbersOf(bytes: Uint8Array | undefined): number[] {
  const decoded = bytes === undefined ? undefined : decodeTensors(bytes);
  if (decoded === undefined || decoded._tag === "Failure") return [];
  return [...decoded.success.get("w")?.values ?? []];
}
