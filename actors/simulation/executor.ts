/**
 * Executors of simulated workers: the job's machine is the production one; what it invokes to touch the world (directory,
 * bridge, process) is here, in memory and on virtual time.
 *
 * A simulated trainer does what a real one does through its bridge: takes slices, reports batches, pushes its update,
 * waits for the result; its update is a handful of numbers drawn from the seed.
 *
 * @module
 */
import { Effect, Exit, Fiber, type Scope } from "effect";
import type { GrantedPullHeader } from "../../transport/protocols/mod.ts";
import type { Peer, Progress, ProgressResponse, Receipt, TrainConfig } from "../../transport/protocols/messages.ts";
import { type PeerText, TransportError } from "../../transport/port.ts";
import { fromEffect } from "../runtime/effect_actor.ts";
import { saveStream } from "../job/copy.ts";
import { jobLimits } from "../job/limits.ts";
import type { JobInput } from "../job/messages.ts";
import type { WorkDirectory } from "../files/contained_files.ts";
import { openPull, openPush } from "../job/peer_streams.ts";
import { sendOnce, sendUntilSaved } from "../job/resend.ts";
import { labelOf } from "../job/training_network.ts";
import type { Executor, ExecutorExit } from "../job/process.ts";
import { type ExceededLimit, type OpenedBridge, type PlacedJob, trainerLinkOf } from "../job/effects.ts";
import { jobMachine } from "../job/job.ts";
import type { TrainerLink } from "../job/trainer_link.ts";
import { roundOfIndex } from "../learning/model_references.ts";
import { aggregated } from "../job/parameter_server/effects.ts";
import { parameterServerMachine } from "../job/parameter_server.ts";
import type { Ports } from "../runtime/ports.ts";
import { fromScoped } from "../runtime/scoped_actor.ts";
import type { RandomStream } from "../runtime/random.ts";
import type { ExecutorWatch } from "./executor_watch.ts";
import { applyNext, type HeldModel, integersIn, readFile, updateSizeOf, valuesIn } from "./trainer_model.ts";
import { encodeUpdate } from "./trainer_model.ts";
import { noteAggregation } from "./watched_aggregation.ts";
import { makeMemoryDirectory } from "./work_directory.ts";

/** How an executor behaves. */
export type ExecutorHabit =
  | "honest"
  /** Ends with code 1 after some batches. */
  | "crashing"
  /** Stops sending anything after some batches. */
  | "hanging"
  /** Pushes garbage, or an update of another model. */
  | "garbage"
  /** Is killed by the kernel when it uses resources that its worker lacks. */
  | "starving";

/** The steps of a job that touch the machine. */
export const handSteps = ["directory", "bridge", "executor", "exit", "overrun", "stop", "flush", "remove"] as const;
/** A broken step: it fails, or never ends. A broken `overrun` reports that the executor exceeds its limits. */
export interface BrokenHand {
  readonly step: (typeof handSteps)[number];
  readonly how: "fails" | "hangs";
}

/** An update as a function of the scheduler, the training, the round, and the parameters where the scheduler keeps the model. */
export type UpdateOf = (at: {
  readonly scheduler: Peer;
  readonly training: string | undefined;
  readonly round: number;
  readonly parameters: readonly number[] | undefined;
}) => readonly number[];

/** The options of the executors of one worker's process. */
export interface ExecutorOptions {
  readonly habit: () => ExecutorHabit;
  readonly random: RandomStream;
  /** The update of a job in a round; drawn from the seed where undefined. */
  readonly updateOf?: UpdateOf | undefined;
  /** How long a batch takes, in milliseconds. */
  readonly batchMs: number;
  readonly watch: ExecutorWatch;
  /** The step that is broken now. */
  readonly broken: () => BrokenHand | undefined;
  /** Whether the worker's disk is full. */
  readonly isDiskFull: () => boolean;
}

/** The bridge tries a failed exchange again: the number of tries, and the pause between them, in milliseconds. */
const triesMax = 8;
const againMs = 1_000;

/** An executor that exceeds its limits is noticed after this, in milliseconds. */
const overrunMs = 2_500;

type Ask<A> = Effect.Effect<A, Error, Scope.Scope>;

/** By the `run` of the process, which all its actors get: creating machines for each process costs more than running them. */
const optionsByRun = new WeakMap<Ports["run"], ExecutorOptions>();

/** The jobs of the process whose actors get this `run` have these executors. */
export function giveExecutors(run: Ports["run"], options: ExecutorOptions): void {
  optionsByRun.set(run, options);
}

function optionsOf({ ports }: { readonly ports: Pick<Ports, "run"> }): ExecutorOptions {
  const options = optionsByRun.get(ports.run);
  if (options === undefined) throw new Error("Cannot execute: this process has no executors");
  return options;
}

/** A step of a job, unless the worker is broken at it. */
function byHand<A, E, R>(
  step: BrokenHand["step"],
  ports: Pick<Ports, "run">,
  effect: Effect.Effect<A, E, R>,
): Effect.Effect<A, E, R> {
  return Effect.suspend((): Effect.Effect<A, E, R> => {
    const broken = optionsOf({ ports }).broken();
    if (broken?.step !== step) return effect;
    return broken.how === "hangs" ? Effect.never : Effect.die(new Error(`the worker is broken: ${step} does not work`));
  });
}

/** Reports that the executor exceeds its limits, where that is the broken step. */
function overrun(ports: Pick<Ports, "run">): Effect.Effect<ExceededLimit> {
  const said = Effect.suspend(() => optionsOf({ ports }).broken()?.step === "overrun" ? Effect.void : Effect.never);
  const exceeded = { limit: "it uses more memory than was leased", atOnce: false };
  return Effect.as(Effect.andThen(Effect.sleep(overrunMs), said), exceeded);
}

const watchedAggregation: typeof aggregated = {
  ...aggregated,
  getInitialSnapshot(scope, input) {
    noteAggregation(input, optionsOf(input).watch);
    return aggregated.getInitialSnapshot(scope, input);
  },
};

/** The job's machine, with the steps that touch the machine simulated. */
export const simulatedJobMachine = jobMachine.provide({
  actors: {
    directory: fromScoped(
      "directory",
      ({ ports, job }: { readonly ports: Ports; readonly job: JobInput }) =>
        byHand(
          "directory",
          ports,
          Effect.sync(() => {
            const directory = makeMemoryDirectory(`${job.workDir}/${ports.uuid()}`);
            directory.isFull = optionsOf({ ports }).isDiskFull;
            return { directory, cell: undefined };
          }),
        ),
    ),
    bridge: fromScoped(
      "bridge",
      (placed: PlacedJob) =>
        byHand(
          "bridge",
          placed.ports,
          Effect.map(trainerLinkOf(placed), (link): OpenedBridge => ({
            socketPath: `${placed.directory.path}/bridge.sock`,
            sendsDone: Effect.void,
            token: { value: "simulated", policy: "optional" },
            link,
          })),
        ),
    ),
    executor: fromScoped(
      "executor",
      (input: StartInput) => byHand("executor", input.ports, startTrainer(input, optionsOf(input))),
    ),
    exit: fromEffect("exit", ({ ports, executor }: RunningInput) => byHand("exit", ports, executor.exited)),
    limitExceeded: fromEffect("limitExceeded", ({ ports }: { readonly ports: Ports }) => overrun(ports)),
    stop: fromEffect("stopped", ({ ports, executor }: RunningInput) => byHand("stop", ports, executor.terminate)),
    flush: fromEffect("flushed", ({ ports }: { readonly ports: Ports }) => byHand("flush", ports, Effect.void)),
    remove: fromEffect("removed", ({ ports }: { readonly ports: Ports }) => byHand("remove", ports, Effect.void)),
    aggregator: parameterServerMachine.provide({ actors: { aggregated: watchedAggregation } }),
  },
});

interface StartInput {
  readonly ports: Ports;
  readonly job: JobInput;
  readonly directory: WorkDirectory;
  readonly bridge: OpenedBridge;
}
interface RunningInput {
  readonly ports: Ports;
  readonly executor: Executor;
}

function startTrainer({ job, directory, bridge }: StartInput, options: ExecutorOptions) {
  return Effect.gen(function* () {
    const { executor } = job.spec;
    if (executor.class !== "train") return yield* Effect.die(new Error("Cannot train: the job is of another class"));
    options.watch.processStarted(job);
    const training = train({ job, directory, config: executor.config, link: bridge.link }, options);
    const fiber = yield* Effect.forkScoped(Effect.scoped(training));
    yield* Effect.addFinalizer(() => Effect.sync(() => options.watch.processEnded(job)));
    const exited = Effect.map(
      Fiber.await(fiber),
      (exit): ExecutorExit => Exit.isSuccess(exit) ? ended(0, "") : ended(1, String(exit.cause)),
    );
    const terminate = Effect.as(Fiber.interrupt(fiber), { code: null, signal: "SIGTERM", tail: "" } as ExecutorExit);
    return { pid: options.random.whole(2, 32_768), exited, terminate, kill: terminate } satisfies Executor;
  });
}

const ended = (code: number, tail: string): ExecutorExit => ({ code, signal: null, tail });

interface TrainerOf {
  readonly job: JobInput;
  readonly directory: WorkDirectory;
  readonly config: TrainConfig;
  /** Where the scheduler keeps the model. */
  readonly link: TrainerLink | undefined;
}

/** Habits that end an executor after some batches. */
const mortal: ReadonlySet<ExecutorHabit> = new Set(["crashing", "hanging", "starving"]);

/** The rounds of one trainer, until the scheduler says `Done`. */
function train(trainer: TrainerOf, options: ExecutorOptions): Ask<void> {
  const { job, directory, config, link } = trainer;
  let batchesLeft: number | undefined;
  // A habit may begin while the executor runs.
  const tire = Effect.suspend((): Effect.Effect<void, Error> => {
    const habit = options.habit();
    if (!mortal.has(habit)) return Effect.void;
    batchesLeft = (batchesLeft ?? options.random.whole(2, 12)) - 1;
    if (batchesLeft > 0) return Effect.void;
    return habit === "hanging" ? Effect.never : Effect.fail(new Error("the executor crashed"));
  });
  return Effect.gen(function* () {
    const model = link === undefined ? undefined : yield* fetchModel(trainer, link);
    const results = link === undefined ? yield* job.network.receive({ peers: config.results.peers }) : undefined;
    for (let round = (model?.round ?? 0) + 1;; round++) {
      results?.allow(config.results.peers, round);
      yield* takeSlice(trainer, options);
      for (let left = Infinity; left > 0; left--) {
        yield* Effect.sleep(options.batchMs * (0.5 + options.random.next()));
        yield* tire;
        const answer = yield* say(job, { status: { batch_size: config.batch_size } });
        link?.countSamples(config.batch_size);
        if (answer.type === "Done") return;
        if (answer.type === "ScheduleUpdate") left = Math.min(left, answer.counter + 1);
      }
      const file = `update-${round}.safetensors`;
      const given = options.updateOf?.({
        scheduler: job.scheduler,
        training: job.network.training?.id,
        round,
        parameters: model && [...model.values],
      });
      yield* writeUpdate(directory, file, { job, options, round, given, model });
      if (link === undefined) {
        for (const peer of config.updates.peers) yield* patiently(push(job, directory, { file, peer, round }));
      } else yield* link.send(file);
      yield* say(job, "update");
      const receipt = link === undefined || model === undefined ? undefined : yield* applyNext(link, model, directory);
      if (receipt !== undefined) options.watch.resultTaken(job, receipt.round);
      if (results !== undefined) {
        yield* saveStream(yield* results.next, directory, `result-${round}.safetensors`, jobLimits);
      }
      if ((yield* say(job, "update-received", receipt)).type === "Done") return;
    }
  });
}

/** Fetches the parameters of the newest round from the scheduler. */
function fetchModel({ job, directory, config }: TrainerOf, link: TrainerLink): Ask<HeldModel> {
  const { artifact } = config.model;
  if (artifact.type !== "scheduler") {
    return Effect.die(new Error("Cannot fetch: the scheduler does not keep the model"));
  }
  return patiently(Effect.gen(function* () {
    const { peer, dataset } = artifact;
    const answer = yield* job.network.request(peer, "/hypha-api/0.0.1", { Data: { dataset } }, jobLimits.exchangeMs);
    const data = "Data" in answer ? answer.Data : "NotFound";
    if (typeof data !== "object" || !("Success" in data)) return yield* Effect.fail(new Error("there are no weights"));
    const { data_provider: provider, index } = data.Success;
    const round = roundOfIndex(index) ?? 0;
    yield* link.begin(round);
    yield* pull(job, directory, provider, { dataset, index });
    const bytes = yield* readFile(directory, `slice-${index}`);
    return { values: valuesIn(bytes), integers: integersIn(bytes), round };
  }));
}

/** Asks the scheduler which slice, and pulls it. */
function takeSlice({ job, directory, config }: TrainerOf, options: ExecutorOptions): Ask<void> {
  return Effect.gen(function* () {
    if (config.data.type !== "scheduler") return;
    const { dataset, peer } = config.data;
    const answer = yield* patiently(
      job.network.request(peer, "/hypha-api/0.0.1", { Data: { dataset } }, jobLimits.exchangeMs),
    );
    const data = "Data" in answer ? answer.Data : "NotFound";
    if (typeof data !== "object" || !("Success" in data)) return yield* Effect.fail(new Error("there is no slice"));
    const { data_provider: provider, index, grant } = data.Success;
    options.watch.sliceGiven(job, index);
    yield* patiently(pull(job, directory, provider, { dataset, index, ...(grant && { scheduler: peer, grant }) }));
  });
}

function pull(
  { network }: JobInput,
  directory: WorkDirectory,
  provider: PeerText,
  header: GrantedPullHeader,
): Ask<void> {
  return Effect.gen(function* () {
    const stream = yield* openPull(network, provider, header);
    const size = yield* saveStream(stream, directory, `slice-${header.index}`, jobLimits);
    if (size === 0) return yield* Effect.fail(new Error("the slice is empty"));
  });
}

function push(
  { network, spec }: JobInput,
  directory: WorkDirectory,
  { file, peer, round }: { readonly file: string; readonly peer: PeerText; readonly round: number },
): Ask<void> {
  return Effect.scoped(Effect.gen(function* () {
    const open = yield* directory.openForReading(file);
    const label = labelOf(network, { job: spec.job_id, round });
    const send = Effect.flatMap(openPush(network, peer), (stream) => sendOnce(open, stream, jobLimits, label));
    yield* sendUntilSaved(send, send);
  }));
}

function writeUpdate(
  directory: WorkDirectory,
  file: string,
  { job, options: { habit, random, watch }, round, given, model }: {
    readonly job: JobInput;
    readonly options: ExecutorOptions;
    readonly round: number;
    readonly given: readonly number[] | undefined;
    readonly model: HeldModel | undefined;
  },
): Ask<void> {
  const size = model?.values.length ?? updateSizeOf(job.scheduler);
  const values = Float32Array.from(given ?? Array.from({ length: size }, () => random.next() - 0.5));
  watch.pushed(job, [...values]);
  const held = { values, integers: model?.integers };
  const kind = habit() === "garbage" && round > 1 ? "garbage" : given === undefined ? "drawn" : "given";
  const bytes = encodeUpdate(held, random, kind);
  return Effect.gen(function* () {
    const writing = yield* directory.create(file);
    yield* writing.write(bytes);
    yield* writing.commit;
  });
}

function say(job: JobInput, progress: Progress, receipt?: Receipt): Ask<ProgressResponse> {
  const request = { job_id: job.spec.job_id, progress, ...(receipt === undefined ? {} : { receipt }) };
  const said = patiently(job.network.request(job.scheduler, "/hypha-progress/0.0.1", request, jobLimits.exchangeMs));
  return Effect.flatMap(
    said,
    (answer) => answer.type === "Error" ? Effect.fail(new Error("progress is not taken")) : Effect.succeed(answer),
  );
}

/** Tries a failed exchange again. */
function patiently<A, E extends Error, R>(effect: Effect.Effect<A, E, R>, tries = triesMax): Effect.Effect<A, E, R> {
  return Effect.catch(effect, (error) => {
    const isFinal = tries <= 1 || (error instanceof TransportError && error.code === "stopped");
    return isFinal ? Effect.fail(error) : Effect.andThen(Effect.sleep(againMs), patiently(effect, tries - 1));
  });
}
