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
      const given = yield* nextSlice(reference, { isWeights, wait }, context);
      const file = given === "away" ? given : yield* pullSlice(given, wait, context);
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

/** Requests the next slice; `away`, after a pause, where the scheduler has no provider of the parameters yet. */
function nextSlice(
  { peer, dataset }: SchedulerReference,
  { isWeights, wait }: { readonly isWeights: boolean; readonly wait: Wait },
  context: BridgeContext,
): Effect.Effect<GivenSlice | "away", BridgeProblem | TransportError> {
  const { network, limits, link } = context;
  return Effect.gen(function* () {
    const answer = yield* network.request(peer, "/hypha-api/0.0.1", { Data: { dataset } }, limits.exchangeMs);
    if (!("Data" in answer)) return yield* Effect.fail(connectorFailed("the scheduler answered something else"));
    if (answer.Data === "NotFound") {
      const error = connectorFailed(`the scheduler knows no dataset \`${dataset}\``);
      if (!isWeights) return yield* Effect.fail(error);
      // The aggregator was lost, and the next one does not have the list of its trainers yet.
      const reason = "the scheduler has no aggregator that knows this trainer";
      yield* pause(wait, { error, away: { what: dataset, peer, reason, fields: { dataset } } }, context);
      return "away";
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
  const { directory, network, limits, now } = context;
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
      if (!awayCodes.includes(error.code)) return yield* Effect.fail(error);
      const { dataset, index } = header;
      const away = {
        what: `slice ${index} of ${dataset}`,
        peer: provider,
        reason: error.message,
        fields: { dataset, index },
      };
      yield* pause(wait, { error, away }, context);
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

/** What does not come yet, and from where. */
interface Away {
  readonly what: string;
  readonly peer: PeerText;
  readonly reason: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Waits before the next try; fails with the error once `awayMs` have passed since the first failure. The first one is reported. */
function pause<E>(
  wait: Wait,
  { error, away }: { readonly error: E; readonly away: Away },
  { jobId: job, limits, now, random, report }: BridgeContext,
): Effect.Effect<void, E> {
  return Effect.gen(function* () {
    if (wait.failures === 0) wait.since = now();
    if (now() - wait.since >= limits.awayMs) return yield* Effect.fail(error);
    wait.failures += 1;
    const { what, peer, reason, fields } = away;
    if (wait.failures === 1) {
      report({
        level: "warn",
        event: "job.fetch.away",
        message: `${what} does not come from ${peer} yet: ${reason}; it is tried for ${limits.awayMs / 1_000} s`,
        fields: { job, ...fields, peer, reason },
      });
    }
    yield* Effect.sleep(backoffMs(wait.failures, random()));
  });
}
