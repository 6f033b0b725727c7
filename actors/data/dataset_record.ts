/**
 * The DHT record of a data set: `{"num_slices": n}`.
 *
 * @module
 */
import { Result } from "effect";
import { type Member, memberOf } from "../../pki/member.ts";
import type { PeerText, RecordAnswer } from "../../transport/port.ts";

/** Bytes of a record that are read: the existing nodes write about 20. */
export const recordBytesMax = 4_096;

/** A data set that can be trained on. */
export interface FoundDataset {
  /** The record's publisher, which serves the slices. */
  readonly provider: PeerText;
  /** The member that the provider published it as: another certificate of its PeerID is another member. */
  readonly member: Member;
  readonly slices: number;
}

/** Reads the answer to `record.get`. A failure is a text for the log. */
export function readDatasetRecord(answer: RecordAnswer): Result.Result<FoundDataset, string> {
  switch (answer.type) {
    case "record":
      return readRecord(answer);
    case "record.failed":
      return Result.fail(answer.error.message);
    default:
      return Result.fail("no node announced it yet");
  }
}

function readRecord(
  { value, publisher, identity }: Extract<RecordAnswer, { type: "record" }>,
): Result.Result<FoundDataset, string> {
  if (identity === undefined) return Result.fail("this node itself published it");
  if (value.length > recordBytesMax) return Result.fail(`its record has more than ${recordBytesMax} bytes`);
  const slices = readSlices(value);
  if (slices === undefined) return Result.fail('its record is not {"num_slices": n} with n of 1 or more');
  return Result.succeed({ provider: publisher, member: memberOf(identity), slices });
}

function readSlices(value: Uint8Array): number | undefined {
  try {
    const parsed: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(value));
    if (typeof parsed !== "object" || parsed === null || !("num_slices" in parsed)) return undefined;
    const slices = parsed.num_slices;
    return typeof slices === "number" && Number.isSafeInteger(slices) && slices >= 1 ? slices : undefined;
  } catch {
    return undefined;
  }
}
