/**
 * One kill: a training is submitted, a process is killed at a moment of it, and the model at its end is compared with that of an undisturbed
 * training.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { Result } from "effect";
import { decodeTensors } from "../../actors/learning/mod.ts";
import { castOf, type Kind, type Moment, untilMoment } from "./moments.ts";
import { rounds, schedulerName, type SupervisedNetwork } from "./network.ts";

/** A training is over within this, in milliseconds. */
const endMs = 300_000;
/** An aggregator that takes over begins with the velocity in F32: results differ by rounding, in this part of a value at most. */
const roundingMax = 1e-6;

/** The model at the end of a training. */
export interface Ended {
  readonly sha256: string;
  readonly file: string;
  readonly round: number;
}

/** The result of a kill. */
export interface KillRow {
  readonly kind: Kind;
  readonly moment: Moment;
  /** What was killed. */
  readonly victim: string;
  /** From the submission to the end. */
  readonly seconds: number;
  /** Rounds that were finished, in order, over all processes of the scheduler. */
  readonly finished: readonly number[];
  /** Aggregators that the training had. */
  readonly aggregators: number;
  /** The largest difference from the undisturbed model; null where the bits are equal. */
  readonly difference: number | null;
  readonly problem: string | null;
}

const nodeNames = { gateway: "gateway", data: "data-1", scheduler: schedulerName } as const;

/** Waits until the training is over. */
export function untilOver(network: SupervisedNetwork): Promise<Ended> {
  const { promise, resolve, reject } = Promise.withResolvers<Ended>();
  const timer = setTimeout(() => reject(new Error(`no end within ${endMs / 1_000} s`)), endMs);
  const stop = network.listen(({ event, node, message, ...fields }) => {
    if (node !== schedulerName) return;
    if (event === "training.failed") reject(new Error(String(message)));
    if (event !== "training.model") return;
    resolve({ sha256: String(fields["sha256"]), file: String(fields["file"]), round: Number(fields["rounds"]) });
  });
  return promise.finally(() => {
    clearTimeout(timer);
    stop();
  });
}

/** A training that nothing disturbs, and a copy of its parameters. */
export async function trainUndisturbed(network: SupervisedNetwork) {
  network.forget();
  const over = untilOver(network);
  await network.submit();
  const { sha256, file } = await over;
  return { sha256, values: valuesIn(file) };
}

export type Undisturbed = Awaited<ReturnType<typeof trainUndisturbed>>;

/** Kills a process of a kind at a moment. */
export async function killOnce(
  network: SupervisedNetwork,
  { kind, moment }: { readonly kind: Kind; readonly moment: Moment },
  undisturbed: Undisturbed,
): Promise<KillRow> {
  network.forget();
  const began = performance.now();
  let victim = "";
  let difference: number | null = null;
  let problem: string | null = null;
  let id = "";
  let isSeen = false;
  const over = untilOver(network);
  over.catch(() => {});
  try {
    const struck = untilMoment(network, moment, kind).then(() => {
      isSeen = true;
      return strike(network, kind, (name) => victim = name);
    });
    struck.catch(() => {});
    id = await network.submit();
    // A training may be over before the process that was killed in it serves again.
    const missed = over.then(() =>
      isSeen ? struck : Promise.reject(new Error(`it was over before ${moment} was seen`))
    );
    await Promise.race([struck, missed]);
    missed.catch(() => {});
    const { sha256, file, round } = await over;
    if (round !== rounds) problem = `its model is that of round ${round}`;
    if (sha256 !== undisturbed.sha256) difference = differenceOf(valuesIn(file), undisturbed.values);
  } catch (error) {
    problem = error instanceof Error ? error.message : String(error);
    // The next training begins when this one is over.
    await over.catch(() => {});
  }
  const of = (name: string) =>
    network.events.filter(({ event, node, training }) => event === name && node === schedulerName && training === id);
  const finished = of("round.finished").map(({ round }) => Number(round));
  const aggregators = of("job.dispatched").filter(({ class: jobClass }) => jobClass === "aggregate").length;
  const row = { kind, moment, victim, finished, aggregators, difference };
  const seconds = Math.round((performance.now() - began) / 100) / 10;
  return { ...row, seconds, problem: problem ?? problemOf(network, row) };
}

/** Kills, and has the supervisor start it again. An executor's worker does that. */
async function strike(network: SupervisedNetwork, kind: Kind, note: (victim: string) => void): Promise<void> {
  const cast = castOf(network);
  if (kind === "executor") {
    if (cast.executor === undefined) throw new Error("there is no executor");
    note(`process ${cast.executor} of ${cast.trainer}`);
    return void process.kill(cast.executor, "SIGKILL");
  }
  const name = kind === "trainer" || kind === "aggregator" ? cast[kind] : nodeNames[kind];
  if (name === undefined) throw new Error(`there is no ${kind}`);
  note(name);
  await network.kill(name);
}

/** What is wrong with a training that ended; null where nothing is. */
export function problemOf(
  { events }: SupervisedNetwork,
  { finished, aggregators, difference }: Pick<KillRow, "finished" | "aggregators" | "difference">,
): string | null {
  const again = finished.find((round, at) => at > 0 && round <= (finished[at - 1] ?? 0));
  if (again !== undefined) return `round ${again} was finished twice: ${finished.join(", ")}`;
  if (events.some(({ event }) => event === "member.diverged")) return "a member has other parameters";
  if (difference === null) return null;
  if (aggregators < 2) return `its bits differ, by ${difference}, with one aggregator`;
  return difference <= roundingMax ? null : `it differs by ${difference}`;
}

/** The parameters in a file. */
export function valuesIn(file: string): Float32Array {
  return Result.getOrThrow(decodeTensors(readFileSync(file))).get("w")?.values ?? new Float32Array(0);
}

/** The largest difference of two models' elements. */
export function differenceOf(one: Float32Array, other: Float32Array): number {
  return one.length !== other.length ? Infinity : one.reduce(
    (most, value, at) => Math.max(most, Math.abs(value - (other[at] as number))),
    0,
  );
}
