/**
 * `POST /resources/fetch`: brings the files of a reference into `artifacts/`.
 *
 * @module
 */
import { Effect } from "effect";
import type {
  HuggingfaceReference,
  Reference,
  SchedulerReference,
  UriReference,
} from "../../../transport/protocols/messages.ts";
import { TransportError } from "../../../transport/port.ts";
import type { PathError } from "../../files/path_refused.ts";
import { saveStream } from "../copy.ts";
import { roundOfIndex, weightsDataset } from "../../learning/model_references.ts";
import { openPull } from "../peer_streams.ts";
import type { BridgeContext } from "./context.ts";
import { type BridgeProblem, connectorFailed, copyProblem, invalidRequest, outOfScope } from "./problem.ts";
import { fetchWebFile, hubFile, parseWebAddress, type WebFile, webFileName } from "./web.ts";

/** A file in the work directory. */
export interface FetchedFile {
  readonly path: string;
  readonly size: number;
}

/** Fetches the files of a reference. A second file of the same name replaces the first. */
export function fetchResource(
  reference: Reference,
  context: BridgeContext,
): Effect.Effect<readonly FetchedFile[], BridgeProblem> {
  switch (reference.type) {
    case "uri":
      return fetchUri(reference, context);
    case "huggingface":
      return fetchHub(reference, context);
    case "scheduler":
      return fetchSlice(reference, context);
    case "peers":
      // As in the existing workers: a job gets files of peers only where the scheduler names the peer.
      return Effect.fail(invalidRequest("unsupported strategy"));
  }
}

function fetchUri({ value }: UriReference, context: BridgeContext) {
  return Effect.flatMap(
    parseWebAddress(value),
    (url) => fetchAll([{ url, path: `artifacts/${webFileName(url, 0)}`, token: undefined }], context),
  );
}

function fetchHub({ repository, revision, filenames, token }: HuggingfaceReference, context: BridgeContext) {
  if (repository.trim() === "") return Effect.fail(invalidRequest("repository must not be empty"));
  if (filenames.length === 0 || filenames.some((name) => name.trim() === "")) {
    return Effect.fail(invalidRequest("filenames must not be empty"));
  }
  if (filenames.length > context.limits.filesMax) {
    return Effect.fail(invalidRequest(`more than ${context.limits.filesMax} filenames`));
  }
  const steps = [repository, revision ?? "main", ...filenames].flatMap((path) => path.split("/"));
  if (steps.some((step) => step === "" || step === "." || step === "..")) {
    return Effect.fail(invalidRequest("path traversal is not allowed"));
  }
  return fetchAll(
    filenames.map((name) => ({
      ...hubFile(context.web.hubUrl, { repository, revision, token }, name),
      path: `artifacts/${name}`,
    })),
    context,
  );
}

function fetchAll(
  files: readonly WebFile[],
  { directory, limits, web, report, jobId: job }: BridgeContext,
): Effect.Effect<readonly FetchedFile[], BridgeProblem> {
  return Effect.forEach(files, (file) => {
    const { path } = file;
    const say = (event: string, sizeBytes: number, more: object) =>
      report({
        level: "info",
        event,
        message: `${path}: ${sizeBytes} bytes from ${file.url.host}`,
        fields: { job, path, sizeBytes, host: file.url.host, ...more },
      });
    const progress = (sizeBytes: number) => say("job.fetch.progress", sizeBytes, {});
    return Effect.map(fetchWebFile(file, directory, limits, web, progress), ({ sizeBytes, sha256, isCached }) => {
      say("job.fetch.done", sizeBytes, { sha256, isCached });
      return { path, size: sizeBytes };
    });
  });
}

/** Parameters that a newer round replaced before they were pulled are asked for again so often. */
const weightsTriesMax = 5;

/** Asks the scheduler for the next slice and its data node, and pulls the slice from there; the same for a training's parameters. */
function fetchSlice(
  reference: SchedulerReference,
  context: BridgeContext,
): Effect.Effect<readonly FetchedFile[], BridgeProblem> {
  return Effect.gen(function* () {
    const isWeights = reference.dataset === weightsDataset(context.network.training?.id ?? "");
    for (let tries = 1;; tries++) {
      const file = yield* pullSlice(reference, context);
      if (file !== undefined) return [file];
      if (!isWeights || tries === weightsTriesMax) {
        return yield* Effect.fail(connectorFailed(`the provider has not what \`${reference.dataset}\` names`));
      }
    }
  });
}

/** Pulls what the scheduler names now; undefined where its provider does not have it. */
function pullSlice(
  { peer, dataset }: SchedulerReference,
  { directory, network, limits, link }: BridgeContext,
): Effect.Effect<FetchedFile | undefined, BridgeProblem> {
  return Effect.gen(function* () {
    const answer = yield* network.request(peer, "/hypha-api/0.0.1", { Data: { dataset } }, limits.exchangeMs);
    if (!("Data" in answer)) return yield* Effect.fail(connectorFailed("the scheduler answered something else"));
    if (answer.Data === "NotFound") {
      return yield* Effect.fail(connectorFailed(`the scheduler knows no dataset \`${dataset}\``));
    }
    if ("Error" in answer.Data) return yield* Effect.fail(connectorFailed(answer.Data.Error));
    const { data_provider, index, grant } = answer.Data.Success;
    const path = `artifacts/${index}`;
    const round = roundOfIndex(index);
    if (round !== undefined && link !== undefined) yield* link.begin(round);
    const header = { dataset, index, ...(grant === undefined ? {} : { scheduler: peer, grant }) };
    const stream = yield* openPull(network, data_provider, header, limits.exchangeMs);
    const size = yield* Effect.catch(
      saveStream(stream, directory, path, limits),
      (error): Effect.Effect<0, BridgeProblem | TransportError | PathError> =>
        error instanceof TransportError && error.code === "refused" ? refused(error.detail) : Effect.fail(error),
    );
    return size === 0 ? undefined : { path, size };
  }).pipe(Effect.mapError((error) => error._tag === "BridgeProblem" ? error : copyProblem(error)));
}

/** The outcome of a provider's refusal: nothing where it does not have the file. */
function refused(code: string): Effect.Effect<0, BridgeProblem> {
  if (code === "not-found") return Effect.succeed(0);
  return Effect.fail(
    code === "job-scope"
      ? outOfScope("the data node does not give this slice to this job")
      : connectorFailed(`the data node refused: ${code}`),
  );
}
