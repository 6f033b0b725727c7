/**
 * Context, events, guards and children of a data node's machine.
 *
 * @module
 */
import { setup } from "xstate";
import { Effect } from "effect";
import type { RecordAnswer, StreamHandle } from "../../transport/port.ts";
import { RareReports } from "../../transport/core/rare_reports.ts";
import type { DataConfig } from "../config/config.ts";
import { pullProtocols } from "../files/stream_file.ts";
import { backoffMs } from "../runtime/backoff.ts";
import { type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import { monotonicNow, type Ports } from "../runtime/ports.ts";
import type { RoleEvent, RoleInput, RoleOutcome, TransportRef } from "../runtime/role.ts";
import { hasPlace, mayWait, type OfferedPull, type Pulls } from "./pulls.ts";
import { checkReader } from "./may_read.ts";
import { servePull, untilPullerEnds } from "./serve_pull.ts";
import { type Dataset, scanDataset } from "./slices_directory.ts";
import { findIdentityBy } from "./trusted_scheduler.ts";

export interface DataContext extends RoleInput<DataConfig>, Pulls {
  readonly dataset: Dataset | undefined;
  /** Pulls that were refused with `job-scope`: facts for the refusal log, and the refusals that they count. */
  readonly refusals: { readonly facts: number; readonly counted: number };
  /** Selects what is reported of each member. */
  readonly rare: RareReports;
  readonly announcements: number;
  readonly failures: number;
  readonly outcome: RoleOutcome;
}

/** The context of a node that begins. */
export function beginningOf(input: RoleInput<DataConfig>): DataContext {
  return {
    ...input,
    dataset: undefined,
    pulls: {},
    waiting: [],
    refusals: { facts: 0, counted: 0 },
    rare: new RareReports(() => monotonicNow(input.ports)),
    announcements: 0,
    failures: 0,
    outcome: { type: "drained" },
  };
}

const scan = fromEffect(
  "scan",
  (input: { readonly ports: Ports; readonly datasetPath: string }) => scanDataset(input.datasetPath),
);

const pull = fromEffect(
  "pull",
  (
    input: {
      readonly ports: Ports;
      readonly transport: TransportRef;
      readonly requireGrant: boolean;
      readonly exchange: string;
      readonly stream: StreamHandle;
      readonly dataset: Dataset;
    },
  ) => {
    const { ports, transport, requireGrant, stream, dataset, exchange } = input;
    const rules = { requireGrant, findIdentity: findIdentityBy(transport, ports.uuid), now: ports.now };
    return Effect.map(servePull(stream, dataset, rules), (outcome) => ({ exchange, stream, outcome }));
  },
);

const pullerEnd = fromEffect(
  "pullerEnd",
  ({ exchange, stream }: { readonly ports: Ports; readonly exchange: string; readonly stream: StreamHandle }) =>
    untilPullerEnds(stream).pipe(
      Effect.onInterrupt(() => stream.abort("data node stops")),
      Effect.as({ exchange }),
    ),
);

const actors = { scan, pull, pullerEnd };

export type DataEvent =
  | RoleEvent
  | EventsOf<typeof actors>
  | { readonly type: "announced"; readonly announcement: number; readonly answer: RecordAnswer }
  | { readonly type: "pull.opened"; readonly exchange: string; readonly stream: StreamHandle }
  | { readonly type: "pull.unopened"; readonly exchange: string }
  /** It has waited for a place as long as it may. */
  | { readonly type: "pull.late"; readonly exchange: string };

export type OpenedPull = Extract<DataEvent, { type: "pull.opened" }>;
export type EndedPull = Extract<DataEvent, { type: "effect.done.pull" }>["value"];

/** Types, guards and children of the machine. `data.ts` adds the actions. */
export const dataSetup = setup({
  types: {
    input: {} as RoleInput<DataConfig>,
    context: {} as DataContext,
    events: {} as DataEvent,
    output: {} as RoleOutcome,
  },
  actors,
  guards: {
    /** A pull by a peer that may read here, while there is a place for it, or room to wait for one. */
    isTaken: ({ context }, offered: OfferedPull) =>
      pullProtocols.some((pull) => pull === offered.protocol) && checkReader(context.config, offered) === undefined &&
      (hasPlace(context, offered.peer) || mayWait(context, offered.peer)),
    isIdle: ({ context }) => Object.keys(context.pulls).length === 0,
    isStale: ({ context }, { announcement }: { readonly announcement: number }) =>
      announcement !== context.announcements,
    isStored: (_, { answer }: { readonly answer: RecordAnswer }) => answer.type === "record.stored",
    /** This side of the stream is ended, and the puller's may still be open. */
    isWritten: (_, { outcome: { type } }: EndedPull) =>
      type !== "malformed" && type !== "broken" && type !== "shortened",
  },
  delays: { retry: ({ context }) => backoffMs(context.failures, context.ports.random()) },
});

/** Arguments of an action. Data of the event arrives as the action's params. */
export type DataArgs = Omit<Parameters<Parameters<typeof dataSetup.enqueueActions>[0]>[0], "event">;
