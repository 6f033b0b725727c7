/**
 * The weights of a training whose model is a repository's: the scheduler fetches them once, as each trainer does, and keeps the model.
 *
 * @module
 */
import { join } from "node:path";
import { Data, Effect } from "effect";
import { FileSystem } from "effect/FileSystem";
import { fetchDefault } from "../config/cell_config.ts";
import type { DilocoJobConfig, HuggingfaceModel } from "../config/config.ts";
import { openAside } from "../files/aside_file.ts";
import { isThere } from "../files/is_there.ts";
import { WorkFileFailed } from "../files/path_refused.ts";
import { makeStateDirectory } from "../files/state_directory.ts";
import type { FileNotWritten } from "../files/write_whole.ts";
import type { BridgeProblem } from "../job/bridge/problem.ts";
import { fetchWebFile, hubFile } from "../job/bridge/web.ts";
import { type Web, webUnder } from "../job/bridge/web_request.ts";
import { jobLimits } from "../job/limits.ts";
import { CheckpointFailed, failedAt, failedFor } from "./checkpoints.ts";

/** The training cannot begin with these weights. */
export class WeightsRefused extends Data.TaggedError("WeightsRefused")<{
  readonly path: string;
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot begin with weights ${this.path}: ${this.detail}`;
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

/**
 * The path of a training's weights. Those of a repository are fetched into `folder`, unless an earlier run did that.
 *
 * Fails with `WeightsRefused` where the hub does not give them, and with `CheckpointFailed` where another try may succeed.
 */
export function weightsIn(
  folder: string,
  source: WeightsSource,
  web: Web = schedulerWeb(),
): Effect.Effect<string, WeightsRefused | CheckpointFailed, FileSystem> {
  if (typeof source === "string") return Effect.succeed(source);
  const path = join(folder, "repository.safetensors");
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    yield* Effect.mapError(makeStateDirectory(folder), failedAt(folder));
    if (yield* Effect.mapError(isThere(path), failedAt(path))) return path;
    const name = source.filenames.find((each) => each.endsWith(".safetensors")) ?? "";
    const file = { ...hubFile(web.hubUrl, source, name), path };
    const create = () => Effect.provideService(createFile(path), FileSystem, files);
    const fetched = fetchWebFile(file, { create }, jobLimits, web);
    yield* Effect.mapError(fetched, (problem) => failureOf(`${source.repository}/${name}`, path, problem));
    return path;
  });
}

function createFile(path: string) {
  const failed = ({ problem, detail }: FileNotWritten) => new WorkFileFailed({ code: problem, path, detail });
  return Effect.map(Effect.mapError(openAside(path), failed), ({ write, commit }) => ({
    write: (bytes: Uint8Array) => Effect.mapError(write(bytes), failed),
    commit: Effect.mapError(commit, failed),
  }));
}

/** What the hub refuses, it refuses again; servers and disks may recover. */
function failureOf(file: string, path: string, { status, detail }: BridgeProblem): WeightsRefused | CheckpointFailed {
  const isFinal = status < 500 || /HTTP status 4[0-9]{2} |is over [0-9]+ bytes/.test(detail);
  return isFinal ? new WeightsRefused({ path: file, detail }) : failedFor(path, detail);
}
