/**
 * Slices of a data set, and a training's parameters: the scheduler names the next one and its provider, which serves it.
 *
 * A provider that is away is waited for: a data node that restarts must not end its trainers.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { PeerText, TransportError } from "../../../transport/port.ts";
import type { SchedulerReference } from "../../../transport/protocols/messages.ts";
import type { GrantedPullHeader } from "../../../transport/protocols/mod.ts";
import type { PathError } from "../../files/path_refused.ts";
import { roundOfIndex, weightsDataset } from "../../learning/model_references.ts";
import { backoffMs } from "../../runtime/backoff.ts";
import { saveStream } from "../copy.ts";
import { openPull } from "../peer_streams.ts";
import type { BridgeContext } from "./context.ts";
import { type BridgeProblem, connectorFailed, copyProblem, outOfScope } from "./problem.ts";

/** A file in the work directory. */
export interface FetchedFile {
  readonly path: string;
  readonly size: number;
}

/** Parameters that a newer round replaced before they were pulled are asked for again so often. */
const weightsTriesMax = 5;
/** A slice is pulled again for so long. Then the scheduler is requested again: where clocks differ by an hour, a grant holds for 5 min. */
const askAgainMs = 240_000;
/** Errors of an exchange with a node that restarts, or that cannot be reached for a while. */
const awayCodes: readonly TransportError["code"][] = ["not-connected", "unsupported", "timed-out", "stream-reset"];

/** The wait for a provider that is away, in one fetch. */
interface Wait {
  failures: number;
  /** The first failure. */
  since: number;
}

/** Asks the scheduler for the next slice and its data node, and pulls the slice from there; the same for a training's parameters. */
export function fetchSlice(
  reference: SchedulerReference,
  context: BridgeContext,
): Effect.Effect<readonly FetchedFile[], BridgeProblem> {
  const fetched = Effect.gen(function* () {
    const isWeights = reference.dataset === weightsDataset(context.network.training?.id ?? "");
    const wait: Wait = { failures: 0, since: 0 };
    for (let missing = 0;;) {
      const file = yield* pullSlice(yield* nextSlice(reference, context), wait, context);
      if (file === "away") continue;
      if (file !== undefined) return [file];
      missing += 1;
      if (!isWeights || missing === weightsTriesMax) {
        return yield* Effect.fail(connectorFailed(`the provider has not what \`${reference.dataset}\` names`));
      }
    }
  });
  return Effect.mapError(fetched, (error) => error._tag === "BridgeProblem" ? error : copyProblem(error));
}

/** What the scheduler gives a job. */
interface GivenSlice {
  readonly provider: PeerText;
  readonly header: GrantedPullHeader;
}

function nextSlice({ peer, dataset }: SchedulerReference, { network, limits, link }: BridgeContext) {
  return Effect.gen(function* () {
    const answer = yield* network.request(peer, "/hypha-api/0.0.1", { Data: { dataset } }, limits.exchangeMs);
    if (!("Data" in answer)) return yield* Effect.fail(connectorFailed("the scheduler answered something else"));
    if (answer.Data === "NotFound") {
      return yield* Effect.fail(connectorFailed(`the scheduler knows no dataset \`${dataset}\``));
    }
    if ("Error" in answer.Data) return yield* Effect.fail(connectorFailed(answer.Data.Error));
    const { data_provider: provider, index, grant } = answer.Data.Success;
    const round = roundOfIndex(index);
    if (round !== undefined && link !== undefined) yield* link.begin(round);
    return { provider, header: { dataset, index, ...(grant === undefined ? {} : { scheduler: peer, grant }) } };
  });
}

/** Pulls a slice; undefined where its provider does not have it, `away` where the scheduler has to be requested again. */
function pullSlice(
  { provider, header }: GivenSlice,
  wait: Wait,
  context: BridgeContext,
): Effect.Effect<FetchedFile | "away" | undefined, BridgeProblem | TransportError | PathError> {
  const { directory, network, limits, now, random } = context;
  const path = `artifacts/${header.index}`;
  const pulled = Effect.flatMap(
    openPull(network, provider, header, limits.exchangeMs),
    (stream) => saveStream(stream, directory, path, limits),
  );
  return Effect.gen(function* () {
    const begunAt = now();
    for (;;) {
      const outcome = yield* Effect.result(pulled);
      if (Result.isSuccess(outcome)) return outcome.success === 0 ? undefined : { path, size: outcome.success };
      const error = outcome.failure;
      if (error._tag !== "TransportError") return yield* Effect.fail(error);
      if (error.code === "refused") return yield* refused(error.detail);
      if (wait.failures === 0) wait.since = now();
      if (!awayCodes.includes(error.code) || now() - wait.since >= limits.awayMs) return yield* Effect.fail(error);
      wait.failures += 1;
      if (wait.failures === 1) reportAway(provider, header, error, context);
      yield* Effect.sleep(backoffMs(wait.failures, random()));
      if (now() - begunAt >= askAgainMs) return "away";
    }
  });
}

/** The outcome of a provider's refusal: nothing where it does not have the file. */
function refused(code: string): Effect.Effect<undefined, BridgeProblem> {
  if (code === "not-found") return Effect.undefined;
  return Effect.fail(
    code === "job-scope"
      ? outOfScope("the data node does not give this slice to this job")
      : connectorFailed(`the data node refused: ${code}`),
  );
}

function reportAway(
  provider: PeerText,
  { dataset, index }: GrantedPullHeader,
  error: TransportError,
  { jobId: job, limits, report }: BridgeContext,
): void {
  report({
    level: "warn",
    event: "job.fetch.away",
    message: `slice ${index} of ${dataset} does not come from ${provider} yet: ${error.message}; it is tried for ${
      limits.awayMs / 1_000
    } s`,
    fields: { job, dataset, index, peer: provider, reason: error.message },
  });
}
