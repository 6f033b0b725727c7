/**
 * Which of several trainings a stream is for, where its sender takes part in all of them: only the head of the stream says so.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { StreamHandle } from "../../transport/port.ts";
import { decodeGrantedPullHeader, decodePullHeader, pullHeaderMaxBytes } from "../../transport/protocols/mod.ts";
import { peekHead, readLabel } from "../files/labelled_stream.ts";
import { isFramed, pullProtocols } from "../files/stream_file.ts";
import { trainingOfDataset } from "../learning/model_references.ts";
import { fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";

/** The head of a stream comes within this, in milliseconds. */
const idleMs = 10_000;

/** A stream, which begins with its head again, and the training that it is for; undefined where it names none. */
export interface SortedStream {
  readonly exchange: string;
  readonly stream: StreamHandle;
  readonly training: string | undefined;
}

/** Reads the head. Never fails: a broken stream is for no training. */
export function sortStream(exchange: string, stream: StreamHandle): Effect.Effect<SortedStream> {
  const isPull = pullProtocols.some((pull) => pull === stream.protocol);
  const named = isPull ? pulledTraining(stream) : Effect.map(
    readLabel(stream, { idleMs }),
    ({ stream: again, label }) => ({ stream: again, training: label?.training }),
  );
  return named.pipe(
    Effect.orElseSucceed(() => ({ stream, training: undefined })),
    Effect.map((sorted) => ({ exchange, ...sorted })),
  );
}

function pulledTraining(stream: StreamHandle) {
  const decode = isFramed(stream.protocol) ? decodeGrantedPullHeader : decodePullHeader;
  const datasetOf = (held: Uint8Array) => Result.map(decode(held), (read) => read?.header.dataset);
  return Effect.map(
    peekHead(stream, datasetOf, { idleMs, bytesMax: 2 * pullHeaderMaxBytes }),
    ({ stream: again, head }) => ({
      stream: again,
      training: head === undefined ? undefined : trainingOfDataset(head),
    }),
  );
}

/** Sends `effect.done.sorted` with a {@linkcode SortedStream}. */
export const sortedActor = fromEffect(
  "sorted",
  ({ exchange, stream }: { readonly ports: Ports; readonly exchange: string; readonly stream: StreamHandle }) =>
    sortStream(exchange, stream),
);
