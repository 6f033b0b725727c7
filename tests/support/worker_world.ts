/**
 * A worker's machine in a fake world: a test plays its schedulers, its jobs and its clock.
 *
 * @module
 */
import * as assert from "uvu/assert";
import { assign, setup } from "xstate";
import type { WorkerConfig } from "../../actors/config/config.ts";
import type { PreparedWorker } from "../../actors/job/cell/prepare.ts";
import type { jobMachine } from "../../actors/job/job.ts";
import type { JobCommand, JobInput, JobOutcome } from "../../actors/job/messages.ts";
import { type EffectDone, fromSource } from "../../actors/runtime/effect_actor.ts";
import { instantFromMs } from "../../actors/runtime/instant.ts";
import { workerMachine } from "../../actors/worker/worker.ts";
import type { Role } from "../../pki/certificate.ts";
import { withConnected } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { CertificateExpired, CertificateRevoked } from "../../pki/refusal.ts";
import type { CloseReason } from "../../transport/port.ts";
import type { ApiRequest, JobSpec } from "../../transport/protocols/messages.ts";
import { identityOf, makeFakeWorld, requestFrom, startIn } from "./fake_transport.ts";

const api = "/hypha-api/0.0.1" as const;
const total = { cpu: 4, gpu: 0, memory: 8, storage: 10 };
export const small = { cpu: 2, gpu: 0, memory: 1, storage: 1 };

/** A connection was closed because a list revokes its certificate. */
export const revoked: CloseReason = {
  type: "trust.changed",
  refusal: new CertificateRevoked({
    certificate: { subject: "CN=x", serial: "01" },
    issuer: "CN=ca",
    revokedAt: new Date(0),
    reason: "keyCompromise",
  } as never),
};

/** A connection was closed because the certificate that it was made with ended. */
export const expired: CloseReason = {
  type: "expired",
  refusal: new CertificateExpired({
    certificate: { subject: "CN=x", serial: "01" },
    at: new Date(1),
    notAfter: new Date(0),
  }),
};

/** Stands for `job.ts`: ends when it is cancelled or told to, keeps what it hears. */
function fakeJobs() {
  const inputs: JobInput[] = [];
  const heard: [task: string, command: JobCommand | { type: "end" | "crash" }][] = [];
  const logic = setup({
    types: {
      input: {} as JobInput,
      context: {} as { input: JobInput; outcome: object; bridge: { idleMs(): number } },
      events: {} as JobCommand | { type: "end"; outcome: object } | { type: "crash" },
    },
  }).createMachine({
    context: ({ input }) => {
      inputs.push(input);
      return { input, outcome: {}, bridge: { idleMs: () => 7_900 } };
    },
    initial: "running",
    on: { "*": { actions: ({ context, event }) => void heard.push([context.input.taskId, event]) } },
    states: {
      running: {
        on: {
          "job.cancel": {
            target: "over",
            actions: [
              ({ context, event }) => void heard.push([context.input.taskId, event]),
              assign({ outcome: ({ event }) => ({ type: "cancelled", reason: event.reason }) }),
            ],
          },
          end: { target: "over", actions: assign({ outcome: ({ event }) => event.outcome }) },
          crash: {
            actions: () => {
              throw new Error("a defect");
            },
          },
        },
      },
      over: {
        type: "final",
        entry: ({ context }) => {
          const { taskId: task_id, spec: { job_id } } = context.input;
          context.input.parent?.send({ type: "job.ended", task_id, job_id, outcome: context.outcome as JobOutcome });
        },
      },
    },
  });
  return { inputs, heard, logic };
}

/**
 * A worker that serves.
 *
 * @param there Whom it is connected with when it starts.
 * @param options.prepared What its preparation found; `never` where this does not end.
 */
export function startWorker(
  strategy: "whole" | "flexible" = "flexible",
  there: PeerIdentity = identityOf("s"),
  { prepared = {}, more = {} }: {
    readonly prepared?: Partial<PreparedWorker> | "never";
    readonly more?: Partial<Pick<WorkerConfig, "cell" | "executors" | "fetch" | "resources" | "workDir">>;
  } = {},
) {
  const world = makeFakeWorld();
  const jobs = fakeJobs();
  const sweep = fromSource((_: unknown, send: (event: EffectDone<"sweep", PreparedWorker>) => void) => {
    if (prepared !== "never") {
      send({ type: "effect.done.sweep", value: { removed: ["/old"], failed: [], unowned: [], ...prepared } });
    }
    return () => {};
  });
  const machine = workerMachine.provide({ actors: { sweep, job: jobs.logic as unknown as typeof jobMachine } });
  const config = {
    role: "worker",
    workDir: "/nowhere",
    resources: total,
    offer: { price: 10, floor: 5, strategy },
    executors: [
      { class: "train", name: "diloco-transformer", runtime: "process", cmd: "true", args: [] },
      { class: "aggregate", name: "parameter-server", runtime: "parameter-server", cmd: undefined, args: [] },
    ],
    ...more,
  } as unknown as WorkerConfig;
  const actor = startIn(world, machine, {
    config,
    ports: world.ports,
    transport: world.transport,
    self: "worker",
    members: withConnected([], there),
  });
  let requests = 0;
  const ask = (
    from: string,
    { bid = 20, of = "train" as "train" | "aggregate", ...wanted }:
      & { readonly bid?: number; readonly of?: "train" | "aggregate" }
      & Partial<typeof small> = {},
  ) => {
    const name = of === "train" ? "diloco-transformer" : "parameter-server";
    const id = `request-${++requests}`;
    actor.send({
      type: "published",
      topic: "hypha/worker",
      from,
      identity: identityOf(from),
      via: "g",
      message: {
        id,
        spec: { resources: { ...small, ...wanted }, executor: [{ class: of, name }] },
        timeout: instantFromMs(0),
        bid,
      },
    });
    return id;
  };
  /** The offers that went out since the last look. */
  const offers = () =>
    world.take("request").flatMap((sent) =>
      "WorkerOffer" in sent.message
        ? [{
          to: sent.peer,
          sent,
          ...(sent.message.WorkerOffer as { id: string; price: number; resources: typeof total }),
        }]
        : []
    );
  /** Sends a request and gives the response; `declined` for none. */
  const say = (from: string | PeerIdentity, message: ApiRequest, role?: Role) => {
    world.take("respond");
    world.take("decline");
    actor.send(requestFrom(from, api, message, role));
    const [response] = world.take("respond");
    return response?.message as Record<string, unknown> | undefined ?? "declined";
  };
  const lease = (from: string | PeerIdentity = there, of: "train" | "aggregate" = "train") => {
    ask(typeof from === "string" ? from : from.peer, { of });
    world.pass(200);
    const [offer] = offers();
    if (offer === undefined) throw new Error("Cannot lease: no offer");
    assert.ok("RenewLease" in (say(from, { RenewLease: { id: offer.id } }) as object));
    return offer.id;
  };
  const isRenewed = (answer: unknown) => typeof (answer as { RenewLease?: unknown }).RenewLease === "object";
  return { world, jobs, actor, ask, offers, say, lease, isRenewed };
}

/** A training. */
export function trainSpec(jobId = "job-1"): JobSpec {
  return {
    job_id: jobId,
    executor: { class: "train", descriptor: { name: "diloco-transformer" }, config: {} as never },
  };
}

/** An aggregation of the updates of these peers. */
export function aggregateSpec(updates: readonly string[], jobId = "job-2", scheduler = "s"): JobSpec {
  const peers = (list: readonly string[]) => ({
    type: "peers" as const,
    peers: list,
    strategy: { type: "All" as const },
    resource: null,
  });
  return {
    job_id: jobId,
    executor: {
      class: "aggregate",
      descriptor: { name: "parameter-server" },
      config: {
        updates: peers(updates),
        results: peers([...updates, scheduler]),
        optimizer: { "learning-rate": 0.7, momentum: 0.9 },
      },
    },
  };
}
