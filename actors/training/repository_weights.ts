/**
 * The weights of a training whose model is a repository's: the scheduler fetches them once, as each trainer does, and keeps the model.
 *
 * @module
 */
import { dirname, join } from "node:path";
import { Data, Effect } from "effect";
import { FileSystem } from "effect/FileSystem";
import { fetchDefault } from "../config/cell_config.ts";
import type { DilocoJobConfig, HuggingfaceModel } from "../config/config.ts";
import { openAside } from "../files/aside_file.ts";
import { checkRoom } from "../files/free_space.ts";
import { isThere } from "../files/is_there.ts";
import { WorkFileFailed } from "../files/path_refused.ts";
import { makeStateDirectory } from "../files/state_directory.ts";
import type { FileNotWritten } from "../files/write_whole.ts";
import type { BridgeProblem } from "../job/bridge/problem.ts";
import { type FetchTooSlow, fetchWebFile, hubFile } from "../job/bridge/web.ts";
import { type Web, webUnder } from "../job/bridge/web_request.ts";
import { jobLimits } from "../job/limits.ts";
import { type CheckpointFailed, failedAt, failedFor, newestCheckpoint } from "./checkpoints.ts";
import { trainingBytes } from "./model_space.ts";

/** The training cannot begin with these weights. */
export class WeightsRefused extends Data.TaggedError("WeightsRefused")<{
  readonly path: string;
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot begin with weights ${this.path}: ${this.detail}`;
  }
}

/** The model hub did not give the weights now: it may later. */
export class HubFailed extends Data.TaggedError("HubFailed")<{
  readonly path: string;
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot fetch weights ${this.path}: ${this.detail}`;
  }
}

/** Where the weights of a training come from: a file, or a repository that has one file of weights. */
export type WeightsSource = string | HuggingfaceModel;

/** Largest file of weights that is fetched, in bytes. */
export const repositoryBytesMax = 2 ** 40;
/** Longest time of such a fetch, in milliseconds. */
const fetchMs = 86_400_000;

/** Where the weights of a training's model come from; undefined where the scheduler does not keep the model. */
export function keptWeights({ model }: Pick<DilocoJobConfig, "model">): WeightsSource | undefined {
  if ("weights" in model) return model.weights;
  return model.keep === true ? model : undefined;
}

/** The hub and what it leads to; never an address of the scheduler's own surroundings. */
export function schedulerWeb(): Web {
  return webUnder({ ...fetchDefault, fileBytesMax: repositoryBytesMax, timeoutMs: fetchMs });
}

/** Waits before the next tries after the hub refused, in milliseconds: one refusal may be an error of the hub. */
export const refusedAgainMs: readonly number[] = [1_000, 4_000];

/** Where weights are fetched to, and how. */
export interface WeightsPlace {
  /** The training's folder. */
  readonly folder: string;
  /** Rounds that are kept: each takes room. */
  readonly keepRounds: number;
  readonly web?: Web | undefined;
  readonly againMs?: readonly number[];
}

/**
 * The path of a training's weights. Those of a repository are fetched into `folder`, unless an earlier run did that: not before the disk
 * has room for them and for the rounds that begin with them, and only the file that the hub names.
 *
 * Fails with `WeightsRefused` where the hub refuses them three times or the disk has no room, and no round is kept; with `HubFailed`
 * and `CheckpointFailed` where another try may succeed.
 */
export function weightsIn(
  { folder, keepRounds, web = schedulerWeb(), againMs = refusedAgainMs }: WeightsPlace,
  source: WeightsSource,
): Effect.Effect<string, WeightsRefused | HubFailed | CheckpointFailed, FileSystem> {
  if (typeof source === "string") return Effect.succeed(source);
  const path = join(folder, "repository.safetensors");
  return Effect.gen(function* () {
    yield* Effect.mapError(makeStateDirectory(folder), failedAt(folder));
    if (yield* Effect.mapError(isThere(path), failedAt(path))) return path;
    const hasRounds = (yield* newestCheckpoint(folder)) !== undefined;
    yield* fetchPatiently({ path, source, keepRounds, web, hasRounds }, againMs);
    return path;
  });
}

interface Wanted {
  /** Where the file will lie. */
  readonly path: string;
  readonly source: HuggingfaceModel;
  readonly keepRounds: number;
  readonly web: Web;
  /** The training has finished rounds: no refusal ends it. */
  readonly hasRounds: boolean;
}

function fetchPatiently(
  wanted: Wanted,
  [waitMs, ...laterMs]: readonly number[],
): Effect.Effect<void, WeightsRefused | HubFailed | CheckpointFailed, FileSystem> {
  return Effect.catchTag(fetchWeights(wanted), "RefusedByHub", (refusal) => {
    if (waitMs !== undefined) return Effect.andThen(Effect.sleep(waitMs), fetchPatiently(wanted, laterMs));
    const { path, detail } = refusal;
    return Effect.fail(wanted.hasRounds ? new HubFailed({ path, detail }) : new WeightsRefused({ path, detail }));
  });
}

/** The hub answered with a status from 400 to 499 that is final, unless it erred. */
class RefusedByHub extends Data.TaggedError("RefusedByHub")<{ readonly path: string; readonly detail: string }> {}

/** Fetches the weights once. */
function fetchWeights({ path, source, keepRounds, web, hasRounds }: Wanted) {
  const name = source.filenames.find((each) => each.endsWith(".safetensors")) ?? "";
  const named = `${source.repository}/${name}`;
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    let refusal: string | undefined;
    const refuse = (detail: string) => {
      refusal = detail;
      return new WorkFileFailed({ code: "no-room", path, detail });
    };
    const create = (_: string, sizeBytes?: number) =>
      Effect.gen(function* () {
        if (sizeBytes === undefined) return yield* refuse("the model hub does not name its size");
        // The parameters take at least as much in the type that they are kept in.
        const needed = sizeBytes + trainingBytes(sizeBytes, keepRounds);
        yield* Effect.mapError(checkRoom(dirname(path), needed), ({ message }) => refuse(message));
        return yield* createFile(path);
      }).pipe(Effect.provideService(FileSystem, files));
    const file = { ...hubFile(web.hubUrl, source, name), path };
    yield* Effect.mapError(fetchWebFile(file, { create }, jobLimits, web), (problem) => {
      if (refusal === undefined) return failureOf(named, path, problem);
      return hasRounds ? failedFor(path, refusal) : new WeightsRefused({ path: named, detail: refusal });
    });
  });
}

function createFile(path: string) {
  const failed = ({ problem, detail }: FileNotWritten) => new WorkFileFailed({ code: problem, path, detail });
  return Effect.map(Effect.mapError(openAside(path), failed), ({ write, commit }) => ({
    write: (bytes: Uint8Array) => Effect.mapError(write(bytes), failed),
    commit: Effect.mapError(commit, failed),
  }));
}

/** What a failed fetch means. A server that asks to wait, one that cannot serve now, and a disk may recover. */
function failureOf(named: string, path: string, problem: BridgeProblem | FetchTooSlow) {
  if (problem._tag === "FetchTooSlow") {
    const { address, timeoutMs, came } = problem;
    return new HubFailed({ path: named, detail: `${address} takes longer than ${timeoutMs} ms: ${came}` });
  }
  const { status, error, detail } = problem;
  if (error === "io_error") return failedFor(path, detail);
  if (status < 500 || /is over [0-9]+ bytes/.test(detail)) return new WeightsRefused({ path: named, detail });
  const answered = /HTTP status (4[0-9]{2}) /.exec(detail)?.[1];
  const isPassing = answered === undefined || ["408", "425", "429"].includes(answered);
  return isPassing ? new HubFailed({ path: named, detail }) : new RefusedByHub({ path: named, detail });
}
