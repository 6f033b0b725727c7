/**
 * The protocols of streams of files.
 *
 * @module
 */

/**
 * Streams of files. The first two are the existing network's: the raw file and nothing else. The others are ours: they carry
 * length and SHA-256 too, and a puller's grant (`file_frame.ts`, `pull_header.ts`).
 */
export const streamProtocols = [
  "/hypha-tensor-stream/pull",
  "/hypha-tensor-stream/push",
  "/hypha-tensor-stream/pull/2",
  "/hypha-tensor-stream/push/2",
] as const;
/** One of {@linkcode streamProtocols}. */
export type StreamProtocol = (typeof streamProtocols)[number];

/** Whether a protocol is one of streams. */
export function isStreamProtocol(protocol: string): protocol is StreamProtocol {
  return streamProtocols.some((known) => known === protocol);
}
