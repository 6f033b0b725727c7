/**
 * The DHT record of a data set: `{"num_slices": n}`.
 *
 * @module
 */
import { Result } from "effect";
import type { PeerText, RecordAnswer } from "../../transport/port.ts";

/** Bytes of a record that are read: the existing nodes write about 20. */
export const recordBytesMax = 4_096;

/** A data set that can be trained on. */
export interface FoundDataset {
  /** The record's publisher, which serves the slices. */
  readonly provider: PeerText;
  readonly slices: number;
}

/** Reads the answer to `record.get`. A failure is a text for the log. */
export function readDatasetRecord(answer: RecordAnswer): Result.Result<FoundDataset, string> {
  switch (answer.type) {
    case "record":
      return readRecord(answer.value, answer.publisher);
    case "record.failed":
      return Result.fail(answer.error.message);
    default:
      return Result.fail("no node announced it yet");
  }
}

function readRecord(value: Uint8Array, provider: PeerText | undefined): Result.Result<FoundDataset, string> {
  if (provider === undefined) return Result.fail("its record names no publisher that is verified here");
  if (value.length > recordBytesMax) return Result.fail(`its record has more than ${recordBytesMax} bytes`);
  const slices = readSlices(value);
  if (slices === undefined) return Result.fail('its record is not {"num_slices": n} with n of 1 or more');
  return Result.succeed({ provider, slices });
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
