/**
 * The reason of a failed job, in at most 4,096 bytes: the summary, then the end of the executor's output.
 *
 * @module
 */
import { reasonMaxBytes } from "../../transport/protocols/mod.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * Joins a summary and the tail of an executor's output. Too long a tail is cut at its start.
 *
 * @param tail Output of the executor; its control characters are replaced.
 */
export function failureReason(summary: string, tail = ""): string {
  const head = encoder.encode(plainText(summary)).subarray(0, reasonMaxBytes);
  const output = plainText(tail).trim();
  if (output === "") return wholeText(head);
  const joint = encoder.encode("; its last output:\n");
  const room = reasonMaxBytes - head.length - joint.length;
  if (room <= 0) return wholeText(head);
  const bytes = encoder.encode(output);
  return decoder.decode(head) + decoder.decode(joint) + wholeText(bytes.subarray(Math.max(0, bytes.length - room)));
}

/** Replaces control characters, which a terminal would obey, except line ends and tabs. */
export function plainText(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, " ");
}

/** Decodes bytes that may start or end inside a character. Drops the broken ends, so that the text does not grow. */
function wholeText(bytes: Uint8Array): string {
  let from = 0, to = bytes.length;
  while (from < to && ((bytes[from] ?? 0) & 0xc0) === 0x80) from++;
  let lead = to - 1;
  while (lead > from && ((bytes[lead] ?? 0) & 0xc0) === 0x80) lead--;
  const first = bytes[lead] ?? 0;
  const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (lead + length > to) to = lead;
  return decoder.decode(bytes.subarray(from, to));
}
