/**
 * The moments of a training at which a process is killed, and how each is seen from outside: in a log, or by a file that is being written.
 *
 * @module
 */
import { statSync } from "node:fs";
import { join } from "node:path";
import { type NodeEvent, schedulerName, type SupervisedNetwork, trainers, updateBytes } from "./network.ts";

/** Kinds of process. */
export const kinds = ["gateway", "data", "scheduler", "trainer", "aggregator", "executor"] as const;
export type Kind = (typeof kinds)[number];

/** Moments, in their order. From `steps` on in the second round. */
export const moments = [
  "leasing",
  "dispatch",
  "loading",
  "steps",
  "push",
  "mean",
  "result",
  "checkpoint",
] as const;
export type Moment = (typeof moments)[number];

/** Whether there is such a process then: before its job is dispatched there is no executor. */
export function isPossible(kind: Kind, moment: Moment): boolean {
  return kind !== "executor" || moments.indexOf(moment) >= moments.indexOf("loading");
}

/** A moment comes within this, in milliseconds. */
const withinMs = 180_000;
/** How often a folder is looked at, in milliseconds. */
const lookMs = 1;

/** What is known of the members of the running training. */
export interface Cast {
  readonly trainer: string | undefined;
  readonly aggregator: string | undefined;
  /** Process id of the trainer's executor. */
  readonly executor: number | undefined;
}

/** Who the members are, by the logs so far: those that were dispatched last, and before that those that were leased. */
export function castOf(network: SupervisedNetwork): Cast {
  const last = (event: string, jobClass: string) =>
    network.nodeOf(
      network.events.findLast((each) =>
        each.event === event && each.node === schedulerName && each["class"] === jobClass
      )?.["peer"],
    );
  const member = (jobClass: string) => last("job.dispatched", jobClass) ?? last("lease.granted", jobClass);
  const trainer = member("train");
  const started = network.events.findLast(({ event, node, class: of }) =>
    event === "job.started" && node === trainer && of === "train"
  );
  return {
    trainer,
    aggregator: member("aggregate"),
    executor: typeof started?.["pid"] === "number" ? started["pid"] : undefined,
  };
}

/** Resolves at a moment of the training that is submitted next. */
export function untilMoment(network: SupervisedNetwork, moment: Moment, kind: Kind): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const finish = (settle: () => void) => {
    stop();
    clearInterval(looking);
    clearTimeout(timer);
    settle();
  };
  const timer = setTimeout(
    () => finish(() => reject(new Error(`${moment} did not come within ${withinMs / 1_000} s`))),
    withinMs,
  );
  const stop = network.listen((event) => {
    if (isAt(network, event, moment, kind)) finish(resolve);
  });
  const looking = setInterval(() => {
    if (isInSecond(network) && isBeingWritten(network, moment)) finish(resolve);
  }, lookMs);
  return promise;
}

const isInSecond = ({ events }: SupervisedNetwork) =>
  events.some(({ event, node, round }) => event === "round.finished" && node === schedulerName && round === 1);

/** Whether a line of a log is that moment. */
function isAt(network: SupervisedNetwork, event: NodeEvent, moment: Moment, kind: Kind): boolean {
  const own = kind === "aggregator" ? "aggregate" : "train";
  switch (moment) {
    case "leasing":
      return event.event === "lease.granted" && event.node === schedulerName && event["class"] === own;
    case "dispatch":
      return event.event === "job.dispatched" && event.node === schedulerName && event["class"] === own;
    case "loading":
      return event.event === "job.started" && event["class"] === "train" && event.node === castOf(network).trainer;
    case "steps":
      return event.event === "job.progress" && event.node === schedulerName && isInSecond(network) &&
        typeof event["progress"] === "object";
    case "push":
      // The executor has handed its update over, and its worker sends it.
      return event.event === "job.progress" && event.node === schedulerName && isInSecond(network) &&
        event["progress"] === "update";
    case "mean":
      return event.event === "update.received" && event["round"] === 2 &&
        network.events.filter(({ event, round, node }) =>
            event === "update.received" && round === 2 && node === castOf(network).aggregator
          ).length === trainers;
    case "result":
    case "checkpoint":
      return false;
  }
}

/** Whether the file of a moment is there in part. */
function isBeingWritten(network: SupervisedNetwork, moment: Moment): boolean {
  const id = network.events.find(({ event }) => event === "training.submitted")?.["training"];
  switch (moment) {
    case "result":
      return isPart(join(network.trainingFolder(String(id)), ".incoming.safetensors.tmp"));
    case "checkpoint":
      return isPart(join(network.trainingFolder(String(id)), ".round-2.safetensors.tmp"));
    default:
      return false;
  }
}

/** Some of a file's bytes are there, and not all. */
function isPart(path: string): boolean {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  return size > 0 && size < updateBytes;
}
