/**
 * A training whose scheduler keeps its model, with one trainer and one aggregator that a test plays.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Effect, Result } from "effect";
import * as assert from "uvu/assert";
import type { SchedulerConfig } from "../../actors/config/config.ts";
import { handOver } from "../../actors/job/copy.ts";
import { jobLimits } from "../../actors/job/limits.ts";
import { encodeTensors } from "../../actors/learning/mod.ts";
import type { Evaluator } from "../../actors/training/evaluator.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { Receipt } from "../../transport/protocols/messages.ts";
import { identityOf, settle } from "./fake_transport.ts";
import { eventually, streamPair } from "./job_world.ts";
import { configOf, startScheduler } from "./scheduler_world.ts";

/** A file with one tensor of these values. */
export const tensors = (...values: number[]) =>
  encodeTensors(new Map([["w", { shape: [values.length], values: Float32Array.from(values) }]]));
const limits = { ...jobLimits, acknowledgeMs: 5_000 };

/** A job of one trainer, or of several, whose weights and rounds lie in `folder`. */
export function configIn(folder: string, rounds: number, trainers = 1): SchedulerConfig {
  const { job, ...config } = configOf(trainers, rounds);
  const weights = join(folder, "init.safetensors");
  writeFileSync(weights, tensors(1, 2));
  const model = { weights, type: "image-classification", inputNames: ["x"] };
  return {
    ...config,
    stateDir: join(folder, "state"),
    job: { ...job, model, rounds: { ...job.rounds, keepRounds: 3 } },
  };
}

/** A training of trainer `a`, or of several, and aggregator `s`, all dispatched. */
export async function trained(config: SchedulerConfig, trainers: readonly string[] = ["a"], evaluator?: Evaluator) {
  const started = startScheduler(config, evaluator);
  const { world, actor, offer, dispatches, say, answerTraining } = started;
  await eventually("the model is open", () => world.take("record.get").length > 0);
  actor.send({ type: "dataset.answered", lookup: actor.getSnapshot().context.lookups, answer: recordOf(3) });
  if (actor.getSnapshot().context.isRestart) {
    // What an earlier run left at the workers is ended first.
    offer(...trainers, "s");
    answerTraining("ours");
    world.pass(1_000);
  }
  offer(...trainers);
  offer("s");
  const jobs = [...dispatches()];
  jobs[0]?.accept();
  jobs.push(...dispatches());
  for (const { accept } of jobs.slice(1)) accept();
  const { run } = actor.getSnapshot().context;
  assert.ok(run !== undefined);
  const jobOf = (peer: string) => jobs.find((job) => job.peer === peer)?.spec.job_id ?? "";
  const progress = (
    peer: string | PeerIdentity,
    progress: "update" | "updated" | "update-received",
    receipt?: Receipt,
  ) =>
    (say(peer, {
      job_id: jobOf(typeof peer === "string" ? peer : peer.peer),
      progress,
      training: run,
      ...(receipt && { receipt }),
    }) as {
      readonly type?: string;
    }).type;
  const data = (peer: string, dataset: string) => {
    const answer = say(peer, { Data: { dataset, training: run } });
    return typeof answer === "object" && "Data" in answer ? answer.Data : answer;
  };
  const stream = (peer: string, exchange: string, protocol: "push/2" | "pull/2") =>
    actor.send({
      type: "stream.received",
      exchange,
      peer,
      identity: identityOf(peer),
      protocol: `/hypha-tensor-stream/${protocol}`,
    });
  /** Members that were leased later take their jobs. */
  const join = () => {
    for (let more = dispatches(); more.length > 0; more = dispatches()) {
      jobs.unshift(...more);
      for (const { accept } of more) accept();
    }
  };
  /** The aggregator hands a result over; whether it was acknowledged. */
  const push = async (bytes: Uint8Array, exchange: string, aggregator = "s") => {
    stream(aggregator, exchange, "push/2");
    const accept = world.takeOne("stream.accept");
    const { near, far } = streamPair({ near: "scheduler", far: aggregator }, "/hypha-tensor-stream/push/2");
    accept.replyTo.send({ type: "stream.opened", id: exchange, stream: near });
    const read = (into: Uint8Array, position: number) =>
      Effect.sync(() => {
        const piece = bytes.subarray(position, position + into.length);
        into.set(piece);
        return piece.length;
      });
    const outcome = await Effect.runPromise(
      Effect.result(handOver({ fd: -1, sizeBytes: bytes.length, read }, far, limits)),
    );
    await settle();
    return Result.isSuccess(outcome);
  };
  return { ...started, jobs, progress, data, stream, push, join, run };
}

/** The record of a data set. */
export function recordOf(slices: number) {
  const value = new TextEncoder().encode(JSON.stringify({ num_slices: slices }));
  const identity = identityOf("data", "data");
  return { type: "record", id: "", key: "digits", value, publisher: "data", identity } as const;
}
