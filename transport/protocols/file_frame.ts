/**
 * A file that carries its length and digest: what flows towards the receiver on `/hypha-tensor-stream/pull/2` and `push/2`.
 *
 * ```text
 * 8 bytes   length of the JSON, little-endian
 * n bytes   JSON: {"size": 1234}, or {"refused": "job-scope"} and nothing after it; a push of a training has in it, after the
 *           size, what it belongs to: scheduler, training, run, job, round and, where it is an update, samples
 * 1234      the file
 * 32 bytes  SHA-256 of the file
 * ```
 *
 * The length goes in front and the digest behind, so that the sender reads its file once.
 *
 * @module
 */
import { Result } from "effect";
import { decodeFramedJson, encodeFramedJson } from "./framed_json.ts";
import type { MalformedMessage } from "./malformed.ts";
import type { PushLabel } from "./messages.ts";
import { peer, text, u32, u64, uuid } from "./scalars.ts";
import { trainingIdMaxBytes } from "./training_schemas.ts";
import { checked, omittable, type Schema, struct } from "./schema.ts";

/** The head in front of the file. */
export type FileHead =
  /** That many bytes of file follow, then its digest. */
  | { readonly size: number; readonly label?: PushLabel }
  /** Nothing follows: a refusal's code, or `not-found`. */
  | { readonly refused: string };

/** The JSON of a head must be shorter than this: a size has 16 digits, a label about 300 letters. */
export const fileHeadMaxBytes = 1_024;
/** SHA-256. */
export const digestBytes = 32;

type Fields = Partial<PushLabel> & {
  readonly size?: number;
  readonly refused?: string;
};

const schema: Schema<Fields> = checked(
  struct<Fields>({
    size: omittable(u64),
    refused: omittable(text(256)),
    scheduler: omittable(peer),
    training: omittable(text(trainingIdMaxBytes)),
    run: omittable(u32),
    job: omittable(uuid),
    round: omittable(u32),
    samples: omittable(u64),
  }),
  (fields) => {
    const { size, refused } = fields;
    if ((size === undefined) === (refused === undefined)) return "expected size or refused";
    return fields.training !== undefined && labelOf(fields) === undefined ? "expected a whole label" : undefined;
  },
);

/** What the file belongs to; undefined where the head does not say all of it. */
function labelOf({ scheduler, training, run, job, round, samples }: Fields): PushLabel | undefined {
  if (scheduler === undefined || training === undefined || run === undefined) return undefined;
  if (job === undefined || round === undefined) return undefined;
  return { scheduler, training, run, job, round, ...(samples === undefined ? {} : { samples }) };
}

function headOf(fields: Fields): FileHead {
  if (fields.size === undefined) return { refused: fields.refused ?? "" };
  const label = labelOf(fields);
  return label === undefined ? { size: fields.size } : { size: fields.size, label };
}

export function encodeFileHead(head: FileHead): Uint8Array<ArrayBuffer> {
  return encodeFramedJson(schema, "size" in head ? { size: head.size, ...head.label } : head);
}

/** Reads a head from the beginning of what has arrived so far; `undefined` where more must arrive. */
export function decodeFileHead(
  bytes: Uint8Array,
): Result.Result<{ readonly head: FileHead; readonly sizeBytes: number } | undefined, MalformedMessage> {
  return Result.map(
    decodeFramedJson(schema, bytes, fileHeadMaxBytes),
    (read) => read === undefined ? undefined : { head: headOf(read.value), sizeBytes: read.sizeBytes },
  );
}
