/**
 * Takes a training that is submitted over the admin socket: a line of JSON about it, then the bytes of its files. It has its folder when
 * all of it is on disk.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { join } from "node:path";
import { Data, Effect, Result, Schema } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import type { PlatformError } from "effect/PlatformError";
import type { DilocoJobConfig } from "../config/config.ts";
import { decodeJob } from "../config/submitted_job.ts";
import { openAside } from "../files/aside_file.ts";
import { checkRoom } from "../files/free_space.ts";
import { fileProblem } from "../files/file_problem.ts";
import { makeStateDirectory } from "../files/state_directory.ts";
import { FileNotWritten, syncFolder, writeWhole } from "../files/write_whole.ts";
import { trainingFolder } from "../training/checkpoints.ts";
import { parametersBytes, trainingBytes } from "../training/model_space.ts";
import { openTensors } from "../training/tensors_on_disk.ts";
import { emptyWatch } from "../training/watch.ts";
import { incomingFolder, trainingsFolder } from "./load_trainings.ts";
import { formatJob, heldOutName, jobPath, type KnownTraining, weightsPath, withFiles } from "./training_record.ts";

/** Longest line about a training, in bytes. */
export const submissionBytesMax = 1_048_576;
/** Rows held out of training are read whole by the evaluation: at most so many bytes. */
export const heldOutBytesMax = 256 * 1024 * 1024;

/** What is wrong with a training that is submitted. */
export class SubmissionRefused extends Data.TaggedError("SubmissionRefused")<{
  readonly code: "not-a-job" | "wrong-file" | "no-space" | "not-written" | "broken-off";
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot take training: ${this.detail}`;
  }
}

const size = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0));
const headSchema = Schema.Struct({
  name: Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(128)),
  job: Schema.Record(Schema.String, Schema.Unknown),
  /** Sizes in bytes of the files that follow, in this order. */
  weights: Schema.optionalKey(size),
  held_out: Schema.optionalKey(size),
});
type Head = (typeof headSchema)["Type"];

/** The pieces of a body. */
export type Pieces = AsyncIterator<Uint8Array>;

/** Where and as what it is kept. */
export interface Receiving {
  readonly stateDir: string;
  readonly id: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

type Failures = SubmissionRefused;

/** Takes a training. Where anything is wrong, nothing remains of it. */
export function receiveTraining(
  pieces: Pieces,
  { stateDir, id, now }: Receiving,
): Effect.Effect<KnownTraining, Failures, FileSystem | Path> {
  const folder = incomingFolder(stateDir, id);
  return Effect.scoped(Effect.gen(function* () {
    const files = yield* FileSystem;
    const body = readerOf(pieces);
    const head = yield* readHead(body);
    const job = yield* refused("not-a-job", decodeJob(head.job));
    yield* checkFiles(head, job);
    yield* Effect.mapError(makeStateDirectory(folder), unwritten);
    yield* Effect.addFinalizer(() => Effect.ignore(files.remove(folder, { recursive: true })));
    yield* checkSpace(folder, head, job);
    if (head.weights !== undefined) {
      yield* receiveFile(body, weightsPath(folder), head.weights);
      yield* checkWeights(folder, job);
    }
    const heldOut = job.evaluation && heldOutName(job.evaluation.heldOut);
    if (heldOut !== undefined && head.held_out !== undefined) {
      yield* receiveFile(body, join(folder, heldOut), head.held_out);
    }
    const content = formatJob(head.name, now, head.job, heldOut);
    yield* Effect.mapError(writeWhole([{ path: jobPath(folder), content, mode: 0o600 }], "replace"), unwritten);
    const place = trainingFolder(stateDir, id);
    yield* Effect.mapError(
      Effect.andThen(files.rename(folder, place), syncFolder(files, trainingsFolder(stateDir))),
      unwritten,
    );
    const standing = { state: "queued", reason: null, since: now, queuedAt: now } as const;
    return {
      id,
      name: head.name,
      submittedAt: now,
      job: withFiles(job, place, heldOut),
      watch: emptyWatch,
      ...standing,
    };
  }));
}

/** Removes a training that was received and not taken up: after the rename, no start of the scheduler finds it. */
export function withdrawTraining(
  { stateDir, id }: Pick<Receiving, "stateDir" | "id">,
): Effect.Effect<void, SubmissionRefused, FileSystem> {
  const [place, folder] = [trainingFolder(stateDir, id), incomingFolder(stateDir, id)];
  const remaining = (error: PlatformError) =>
    new SubmissionRefused({
      code: "not-written",
      detail: `${place} cannot be removed (${fileProblem(error)}): move it away, or it runs with the next start`,
    });
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    const renamed = Effect.andThen(files.rename(place, folder), syncFolder(files, trainingsFolder(stateDir)));
    yield* Effect.mapError(renamed, remaining);
    yield* Effect.ignore(files.remove(folder, { recursive: true }));
  });
}

const refuse = (code: SubmissionRefused["code"], detail: string) =>
  Effect.fail(new SubmissionRefused({ code, detail }));
const refused = <A>(code: SubmissionRefused["code"], result: Result.Result<A, string>) =>
  Effect.fromResult(Result.mapError(result, (detail) => new SubmissionRefused({ code, detail })));
const unwritten = (error: FileNotWritten | PlatformError) =>
  new SubmissionRefused({
    code: "not-written",
    detail: error instanceof FileNotWritten ? error.message : fileProblem(error),
  });

/** The body, as many bytes at a time as are wanted. */
interface BodyReader {
  /** The next bytes, at most `max` of them; none at the end. */
  read(max: number): Effect.Effect<Uint8Array, SubmissionRefused>;
}

function readerOf(pieces: Pieces): BodyReader {
  let held: Uint8Array = new Uint8Array(0);
  const next = Effect.tryPromise({
    try: () => pieces.next(),
    catch: () => new SubmissionRefused({ code: "broken-off", detail: "the connection broke off" }),
  });
  return {
    read: (max) =>
      Effect.gen(function* () {
        while (held.length === 0) {
          const { done, value } = yield* next;
          if (done === true) return held;
          held = value;
        }
        const taken = held.subarray(0, max);
        held = held.subarray(max);
        return taken;
      }),
  };
}

function readHead(body: BodyReader): Effect.Effect<Head, SubmissionRefused> {
  return Effect.gen(function* () {
    const bytes: number[] = [];
    for (;;) {
      const [byte] = yield* body.read(1);
      if (byte === undefined) return yield* refuse("broken-off", "it has no first line");
      if (byte === 0x0a) break;
      if (bytes.push(byte) > submissionBytesMax) return yield* refuse("not-a-job", "its first line is too long");
    }
    const values = yield* Effect.try({
      try: (): unknown => JSON.parse(Buffer.from(bytes).toString("utf8")),
      catch: () => new SubmissionRefused({ code: "not-a-job", detail: "its first line is not JSON" }),
    });
    const decoded = Schema.decodeUnknownResult(headSchema, { onExcessProperty: "error" })(values);
    return yield* refused("not-a-job", Result.mapError(decoded, ({ message }) => message.slice(0, 1_000)));
  });
}

/** The files that the job names are there, and no others. */
function checkFiles({ weights, held_out: heldOut }: Head, job: DilocoJobConfig) {
  if ((weights !== undefined) !== "weights" in job.model) {
    return refuse("wrong-file", "weights come with a job that names weights, and only with such a job");
  }
  if ((heldOut !== undefined) !== (job.evaluation !== undefined)) {
    return refuse("wrong-file", "held-out rows come with a job that names them, and only with such a job");
  }
  if ((heldOut ?? 0) > heldOutBytesMax) {
    return refuse("wrong-file", `the held-out rows have more than ${heldOutBytesMax} bytes`);
  }
  return Effect.void;
}

/**
 * The files have room, and so have the rounds. Weights of two bytes an element become twice as large: their layout says so when they are
 * here.
 */
function checkSpace(folder: string, { weights = 0, held_out: heldOut = 0 }: Head, { rounds }: DilocoJobConfig) {
  return checkRoomFor(folder, weights + heldOut + trainingBytes(weights, rounds.keepRounds));
}

function checkRoomFor(folder: string, neededBytes: number) {
  return Effect.mapError(
    checkRoom(folder, neededBytes),
    ({ message }) =>
      new SubmissionRefused({ code: "no-space", detail: `${message}: make room, or lower rounds.keep_rounds` }),
  );
}

function receiveFile(body: BodyReader, path: string, sizeBytes: number) {
  return Effect.scoped(Effect.gen(function* () {
    const file = yield* Effect.mapError(openAside(path), unwritten);
    let left = sizeBytes;
    while (left > 0) {
      const piece = yield* body.read(left);
      if (piece.length === 0) return yield* refuse("broken-off", `${left} bytes of its files are missing`);
      left -= piece.length;
      yield* Effect.mapError(file.write(piece), unwritten);
    }
    yield* Effect.mapError(file.commit, unwritten);
  }));
}

/** The weights are a safetensors file, and their rounds have room. */
function checkWeights(folder: string, { rounds }: DilocoJobConfig) {
  return Effect.scoped(openTensors(weightsPath(folder))).pipe(
    Effect.mapError((error) =>
      new SubmissionRefused({ code: "wrong-file", detail: `its weights are no safetensors file: ${error.message}` })
    ),
    Effect.flatMap(({ tensors }) => checkRoomFor(folder, trainingBytes(parametersBytes(tensors), rounds.keepRounds))),
  );
}
