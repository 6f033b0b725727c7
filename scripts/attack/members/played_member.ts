/**
 * A member of a training that an attack plays: it offers, holds its lease, takes its job, and says and sends what it is told.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { Effect, Result } from "effect";
import { handOver } from "../../../actors/job/copy.ts";
import { jobLimits } from "../../../actors/job/limits.ts";
import { encodeTensors, type NamedTensors } from "../../../actors/learning/mod.ts";
import { instantFromMs } from "../../../actors/runtime/instant.ts";
import type { StreamAnswer, TransportFact } from "../../../transport/port.ts";
import {
  type Descriptor,
  type JobSpec,
  type Message,
  type ProgressRequest,
  type ProgressResponse,
  type PushLabel,
  type TrainingRun,
  workerTopic,
} from "../../../transport/protocols/messages.ts";
import { type AttackMeans, holds, pause } from "./attack.ts";
import { freshId } from "./fresh_id.ts";
import type { HonestMember } from "./honest.ts";
import { share } from "./world.ts";

const api = "/hypha-api/0.0.1";
const trainingProtocol = "/hypha-training/1";
const lookMs = 10;
const leaseMs = 10_000;
const offerMs = 500;
/**
 * A job comes within this, in milliseconds: the scheduler asks each second. Where the machine is so busy that a member loses its lease,
 * its rest of half a minute is in it.
 */
const jobMs = 120_000;
/** Dials until one succeeds, and between two of them, in milliseconds. */
const dialsMax = 5, dialAgainMs = 1_000;
/** A result that is not acknowledged within this is not taken, in milliseconds. */
const limits = { ...jobLimits, acknowledgeMs: 10_000 };

/** A job as its worker got it. */
interface TakenJob {
  readonly spec: JobSpec;
  readonly training: TrainingRun;
}

/** A played member. */
export class PlayedMember {
  /** Its jobs, the newest last; a job that is dispatched again is one. */
  readonly jobs: TakenJob[] = [];
  /** What its worker was told over `/hypha-training/1`: names of the requests. */
  readonly told: string[] = [];
  readonly #friend: HonestMember;
  readonly #scheduler: string;
  readonly #descriptor: Descriptor;
  readonly #timer: ReturnType<typeof setInterval>;
  #redial: () => Promise<void> = () => Promise.resolve();
  #read = 0;
  #isLeased = false;
  #isStopped = false;

  private constructor(friend: HonestMember, scheduler: string, descriptor: Descriptor) {
    this.#friend = friend;
    this.#scheduler = scheduler;
    this.#descriptor = descriptor;
    this.#timer = setInterval(() => this.#look(), lookMs);
  }

  /** Starts one, connected with the scheduler under attack. */
  static async start(means: AttackMeans, descriptor: Descriptor): Promise<PlayedMember> {
    const friend = await means.friend("worker", { certificate: await means.certificate("worker") });
    const played = new PlayedMember(friend, means.place.peer, descriptor);
    for (const protocol of [api, trainingProtocol] as const) friend.send({ type: "serve", protocol });
    friend.send({ type: "subscribe", topic: workerTopic });
    played.#redial = () => played.#dial(means.place.address);
    await played.#redial();
    return played;
  }

  async #dial(address: string): Promise<void> {
    for (let tries = dialsMax;; tries--) {
      try {
        return await this.#friend.dial(address);
      } catch (error) {
        // On a busy machine a connection is reset before the node accepts it.
        if (tries === 1) throw error;
        await pause(dialAgainMs);
      }
    }
  }

  /** Whether its scheduler ended its part: it released the lease, or ended the job when the member was there again. */
  get isOut(): boolean {
    return this.told.includes("Release") || this.told.includes("End");
  }

  get peer(): string {
    return this.#friend.identity.peer;
  }

  get job(): TakenJob {
    const job = this.jobs.at(-1);
    if (job === undefined) throw new Error("Cannot play: the scheduler gave no job");
    return job;
  }

  /** Waits until it has a job. */
  async dispatched(): Promise<void> {
    if (!await holds(() => this.jobs.length > 0, jobMs)) throw new Error(`no ${this.#descriptor.class} job came`);
  }

  #look(): void {
    const news = this.#friend.facts.slice(this.#read);
    this.#read += news.length;
    for (const fact of news) this.#take(fact);
  }

  #take(fact: TransportFact): void {
    if (fact.type === "request.received") {
      this.#friend.send({ type: "respond", exchange: fact.exchange, message: this.#answer(fact.message) });
    }
    // A worker whose connection breaks is there again before it counts as absent.
    if (fact.type === "peer.closed" && fact.peer === this.#scheduler && !this.#isStopped) {
      this.#redial().catch(() => {}); // the attack notices that it is away
    }
    if (fact.type !== "published" || fact.from !== this.#scheduler || this.#isLeased) return;
    const { executor } = fact.message.spec;
    if (!executor.some((one) => one.class === this.#descriptor.class && one.name === this.#descriptor.name)) return;
    const timeout = instantFromMs(Date.now() + offerMs);
    const offer = { id: freshId(), request_id: fact.message.id, price: 1, resources: share, timeout };
    this.#friend.request(this.#scheduler, api, { WorkerOffer: offer });
  }

  #answer(message: Message): Message {
    const timeout = instantFromMs(Date.now() + leaseMs);
    if ("RenewLease" in message) {
      this.#isLeased = true;
      const { id } = message.RenewLease as { readonly id: string };
      return { RenewLease: { Renewed: { id, timeout } } };
    }
    if ("DispatchJob" in message) {
      const { id, spec, training } = message.DispatchJob as {
        readonly id: string;
        readonly spec: JobSpec;
        readonly training: TrainingRun;
      };
      if (this.jobs.at(-1)?.spec.job_id === spec.job_id) this.jobs.pop();
      this.jobs.push({ spec, training });
      return { DispatchJob: { Dispatched: { id, timeout } } };
    }
    const [name = ""] = Object.keys(message);
    this.told.push(name);
    if (name === "Release" || name === "End") this.#isLeased = false;
    return { answer: "Ok" };
  }

  /** Says something about its job; the type of the answer, undefined where there is none. */
  async say(said: Omit<ProgressRequest, "job_id" | "training">): Promise<ProgressResponse["type"] | undefined> {
    const { spec: { job_id }, training } = this.job;
    const answer = await this.#friend.request(this.#scheduler, "/hypha-progress/0.0.1", { job_id, training, ...said });
    return (answer as ProgressResponse | undefined)?.type;
  }

  /** The label of its push. */
  label(round: number): PushLabel {
    const { spec, training } = this.job;
    return { scheduler: this.#scheduler, training: training.id, run: training.run, job: spec.job_id, round };
  }

  /** Pushes a file to the scheduler; whether it was acknowledged. */
  async push(bytes: Uint8Array, label: PushLabel | undefined, sizeBytes = bytes.length): Promise<boolean> {
    const protocol = label === undefined ? "/hypha-tensor-stream/push" : "/hypha-tensor-stream/push/2";
    const ask = { type: "stream.open", id: freshId(), peer: this.#scheduler, protocol, timeoutMs: 30_000 } as const;
    const opened = await this.#friend.ask(ask) as StreamAnswer;
    if (opened.type !== "stream.opened") return false;
    const read = (into: Uint8Array, position: number) =>
      Effect.sync(() => {
        const piece = bytes.subarray(position % bytes.length, position % bytes.length + into.length);
        into.set(piece);
        return Math.min(piece.length, sizeBytes - position);
      });
    const handed = handOver({ fd: -1, sizeBytes, read }, opened.stream, limits, label);
    return Result.isSuccess(await Effect.runPromise(Effect.result(handed)));
  }

  /** It does nothing more. Its transport is its attack's. */
  stop(): void {
    this.#isStopped = true;
    clearInterval(this.#timer);
  }
}

/** SHA-256 of parameters as the scheduler serves them. */
export const digestOf = (parameters: NamedTensors): string =>
  createHash("sha256").update(encodeTensors(parameters)).digest("hex");
