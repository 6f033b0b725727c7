/**
 * Context, events, guards and children of the model store's machine.
 *
 * @module
 */
import { setup } from "xstate";
import { Effect } from "effect";
import type { Member } from "../../pki/member.ts";
import { RareReports } from "../../transport/core/rare_reports.ts";
import type { PeerText, StreamAnswer, StreamHandle } from "../../transport/port.ts";
import type { TrainingKey } from "../../transport/protocols/messages.ts";
import type { OuterOptions } from "../learning/mod.ts";
import { EffectDied, type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { HasParent } from "../runtime/parent.ts";
import type { Web } from "../job/bridge/web_request.ts";
import { monotonicNow, type Ports } from "../runtime/ports.ts";
import type { TransportRef } from "../runtime/role.ts";
import { type Checkpoint, checkWhole } from "./checkpoints.ts";
import { checkNextRound, type ModelPlace, openModel, type RoundFacts } from "./keep_model.ts";
import type { OfferedStream } from "./offered_stream.ts";
import { HubFailed, weightsIn, WeightsRefused, type WeightsSource } from "./repository_weights.ts";
import { type Puller, serveModel } from "./serve_model.ts";
import { type FailedResult, type ResultRules, type TakenResult, takeResult } from "./take_result.ts";

/** Results that wait while one is taken; one more is rejected. */
export const waitingMax = 4;
/** Pulls that are served at once; one more is rejected. */
export const modelPullsMax = 64;
/** Pulls of one member that are served at once. */
export const pullsOfPeerMax = 4;

/** Between two tries of opening the model, in milliseconds. */
export const openAgainMs = 5_000;
/** Since the last result that could not be kept, before the room is looked at, in milliseconds: our aggregators hand it over more often. */
export const roomAgainMs = 30_000;
/** Longest time between two tries at a model hub that does not give the weights, in milliseconds. */
export const hubAgainMsMax = 300_000;

/** The input of a model store. */
export interface ModelStoreInput extends HasParent<ModelStoreEvent>, ModelPlace {
  readonly ports: Ports;
  readonly transport: TransportRef;
  readonly training: TrainingKey;
  /** The weights that the training begins with. */
  readonly weights: WeightsSource;
  /** Where weights of a repository are fetched; the hub by default. */
  readonly web?: Web | undefined;
  readonly outer: OuterOptions;
}

/** A result that the aggregator wants to push, and what its scheduler knows of the round. */
export interface OfferedResult extends OfferedStream {
  readonly peer: PeerText;
  readonly member: Member;
  /** Rounds that the aggregator reported. */
  readonly reported: number;
  readonly facts: RoundFacts;
}

/** A pull that a member wants to make. */
export interface OfferedPull extends OfferedStream {
  readonly peer: PeerText;
  readonly puller: Puller;
}

/** Why a training is paused. */
export interface Pause {
  readonly reason: string;
  /** What an operator can do: another one for another kind of cause, the same while only numbers of the reason change. */
  readonly hint: string;
}

export interface ModelStoreContext extends ModelStoreInput {
  readonly checkpoint: Checkpoint | undefined;
  readonly waiting: readonly OfferedResult[];
  /** The result that is being taken. */
  readonly current: OfferedResult | undefined;
  readonly stream: StreamHandle | undefined;
  /** The sender of that result no longer aggregates. */
  readonly isGone: boolean;
  /** The running pulls. */
  readonly pulls: readonly OfferedPull[];
  readonly paused: Pause | undefined;
  /** When that was last seen, by the clock without steps. */
  readonly pausedAt: number;
  /** Tries in a row in which the model hub did not give the weights. */
  readonly hubTries: number;
  /** Selects what is reported of each member. */
  readonly rare: RareReports;
}

/** The events that a model store sends to its parent. */
export type ModelStoreEvent =
  | { readonly type: "model.opened"; readonly checkpoint: Checkpoint }
  | { readonly type: "round.kept"; readonly checkpoint: Checkpoint; readonly resultBytes: number }
  /** The aggregator's result does not fit the model. */
  | { readonly type: "result.rejected"; readonly peer: PeerText; readonly member: Member; readonly reason: string }
  /** The disk has no room for the next round, or a file of the newest one is damaged; or neither any more. `round.kept` says the latter too. */
  | { readonly type: "model.paused"; readonly isPaused: boolean }
  /** The answer to `aggregator.gone`: no result of that aggregator is being taken any more. */
  | { readonly type: "model.settled" }
  | { readonly type: "model.broken"; readonly reason: string };

const opened = fromEffect(
  "opened",
  (
    { weights, web, training, ...place }:
      & Pick<ModelStoreInput, "ports" | "weights" | "web" | "training">
      & ModelPlace,
  ) =>
    Effect.flatMap(
      weightsIn({ folder: place.folder, keepRounds: place.keepRounds, web }, weights),
      (path) => openModel(place, { weights: path, run: training.run }),
    ),
);

const taken = fromEffect(
  "taken",
  ({ stream, rules }: { readonly ports: Ports; readonly stream: StreamHandle; readonly rules: ResultRules }) =>
    takeResult(stream, rules),
);

const pull = fromEffect(
  "pull",
  ({ stream, checkpoint, trainingId, exchange, puller }: {
    readonly ports: Ports;
    readonly stream: StreamHandle;
    readonly checkpoint: Checkpoint;
    readonly trainingId: string;
    readonly exchange: string;
    readonly puller: Puller;
  }) =>
    Effect.map(
      serveModel(stream, checkpoint, { trainingId, puller }),
      (outcome) => ({ exchange, peer: stream.peer, outcome }),
    ),
);

const room = fromEffect(
  "room",
  ({ folder, checkpoint }: {
    readonly ports: Ports;
    readonly folder: string;
    readonly checkpoint: Checkpoint;
  }) => Effect.andThen(checkNextRound(folder, checkpoint.record), checkWhole(checkpoint)),
);

const actors = { opened, taken, pull, room };

/** The events that a model store receives. */
export type ModelStoreCommand =
  | OfferedResult & { readonly type: "result.offered" }
  | OfferedPull & { readonly type: "pull.offered" }
  /**
   * The aggregator was lost or left. A result of it that has arrived is kept; any other is refused, so that its successor makes that
   * round.
   */
  | { readonly type: "aggregator.gone" }
  | { readonly type: "result.accepted"; readonly exchange: string; readonly answer: StreamAnswer }
  | { readonly type: "pull.accepted"; readonly exchange: string; readonly answer: StreamAnswer }
  | EventsOf<typeof actors>;

/** Types, guards and children of the model store's machine. `model_store.ts` adds the actions. */
export const storeSetup = setup({
  types: {
    input: {} as ModelStoreInput,
    context: {} as ModelStoreContext,
    events: {} as ModelStoreCommand,
  },
  actors,
  delays: {
    /** The disk is looked at every five seconds, the hub ever more seldom. */
    roomAgain: ({ context: { ports, pausedAt } }) => Math.max(0, pausedAt + roomAgainMs - monotonicNow(ports)),
    openAgain: ({ context: { hubTries } }) => Math.min(openAgainMs * 2 ** Math.max(0, hubTries - 1), hubAgainMsMax),
  },
  guards: {
    isPaused: ({ context }) => context.paused !== undefined,
    isWaitedFor: ({ context }) => context.waiting.length > 0,
    hasRoom: ({ context }) => context.waiting.length < waitingMax,
    canServe: ({ context: { checkpoint, pulls } }, { peer }: OfferedPull) =>
      checkpoint !== undefined && pulls.length < modelPullsMax &&
      pulls.filter((other) => other.peer === peer).length < pullsOfPeerMax,
    /** The stream of the result that is being taken, and no earlier one that came too late. */
    isOpened: ({ context }, { exchange, answer }: { readonly exchange: string; readonly answer: StreamAnswer }) =>
      context.current?.exchange === exchange && answer.type === "stream.opened",
    /** Another try would fail too: other weights, or a defect. */
    isHopeless: (_, { error }: { readonly error: unknown }) =>
      error instanceof WeightsRefused || error instanceof EffectDied,
    /** The model hub did not give the weights. */
    isOfHub: (_, { error }: { readonly error: unknown }) => error instanceof HubFailed,
    /** The sender of a lost result sends it once: the model misses a round from here on, unless another aggregator makes it. */
    isLost: ({ context }, outcome: TakenResult | FailedResult) =>
      outcome.type === "failed" && !outcome.isRepeated && !context.isGone,
    isGone: ({ context }) => context.isGone,
  },
});

/** Arguments of an action. Data of the event arrives as the action's params. */
export type StoreArgs = Omit<Parameters<Parameters<typeof storeSetup.enqueueActions>[0]>[0], "event">;
