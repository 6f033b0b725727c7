/**
 * When a trainer stops for a round's update, and the answer to each progress message.
 *
 * The trainers of a round together process `avg_samples_between_updates` samples. Each one's share follows its speed, so that
 * a fast trainer does more and all stop at about the same time; until speeds are known, shares are equal. Speeds are what trainers
 * claim: none counts as more than four times their median.
 *
 * @module
 */
import type { Peer, ProgressResponse } from "../../transport/protocols/messages.ts";

/** The pace of one trainer. */
export interface TrainerPace {
  /** Rounds whose update this trainer has received. */
  readonly roundsDone: number;
  /** Samples reported in the current round. */
  readonly samples: number;
  /** Remaining batches at the time of its `ScheduleUpdate`; undefined before. */
  readonly scheduled: number | undefined;
  /** Batches reported since then. */
  readonly sinceScheduled: number;
  /** When the round's first batch was reported, and how many samples that was: speed counts from there. */
  readonly firstAt: number | undefined;
  readonly firstSamples: number;
}

/** A trainer before its first batch. */
export const freshPace: TrainerPace = {
  roundsDone: 0,
  samples: 0,
  scheduled: undefined,
  sinceScheduled: 0,
  firstAt: undefined,
  firstSamples: 0,
};

/** `ScheduleUpdate` is sent this many batches before the share, or fewer: later, the speeds are known better. */
export const batchesAheadMax = 3;

/**
 * A speed counts at most this many times the median of all. With h honest trainers of one speed, and at most as many that claim any,
 * each honest one has at least the part 1 / (h + speedsMax · h) of a round: a fifth of its part without them.
 */
const speedsMax = 4;

/** A trainer that goes on for so many batches longer than its `ScheduleUpdate` said did not get it: the answer was lost. */
const batchesLateMax = 2;

/** The rounds of a training. */
export interface RoundPlan {
  readonly samplesPerRound: number;
  readonly rounds: number;
  /** The scheduler keeps the model: the aggregator is done when the last round is kept, not when it is reported. */
  readonly keepsModel?: boolean;
}

/** A trainer's pace after a message, and the answer to it. */
export interface PacedAnswer {
  readonly pace: TrainerPace;
  readonly answer: ProgressResponse;
}

/**
 * Answers a trainer's `status`: `ScheduleUpdate` once a round, when few batches are left of its share, and again where the trainer
 * does not follow it; else `Continue`.
 *
 * @param paces All trainers that still take part, `peer` among them.
 * @param now Milliseconds since the epoch.
 */
export function answerStatus(
  paces: Readonly<Record<Peer, TrainerPace>>,
  status: { readonly peer: Peer; readonly batchSize: number; readonly now: number },
  plan: RoundPlan,
): PacedAnswer {
  const before = paces[status.peer] ?? freshPace;
  const samples = before.samples + status.batchSize;
  const pace: TrainerPace = {
    ...before,
    samples,
    firstAt: before.firstAt ?? status.now,
    firstSamples: before.firstAt === undefined ? samples : before.firstSamples,
  };
  if (before.scheduled !== undefined) {
    const sinceScheduled = before.sinceScheduled + 1;
    if (sinceScheduled <= before.scheduled + batchesLateMax) {
      return { pace: { ...pace, sinceScheduled }, answer: { type: "Continue" } };
    }
    return scheduleIn(1, pace);
  }
  const share = shareOf({ ...paces, [status.peer]: pace }, status.peer, status.now, plan.samplesPerRound);
  const batchesLeft = status.batchSize > 0 ? Math.ceil((share - samples) / status.batchSize) : 0;
  if (batchesLeft > batchesAheadMax) return { pace, answer: { type: "Continue" } };
  // Never 0, not even after the share was reached: it is unknown whether the existing executors accept it.
  return scheduleIn(Math.max(1, batchesLeft), pace);
}

const scheduleIn = (counter: number, pace: TrainerPace): PacedAnswer => ({
  pace: { ...pace, scheduled: counter, sinceScheduled: 0 },
  answer: { type: "ScheduleUpdate", counter },
});

/** Answers a trainer's `update-received`: the round is over for it; `Done` after the last. */
export function answerUpdateReceived(pace: TrainerPace, plan: RoundPlan): PacedAnswer {
  const roundsDone = pace.roundsDone + 1;
  return {
    pace: { ...freshPace, roundsDone },
    answer: { type: roundsDone >= plan.rounds ? "Done" : "Continue" },
  };
}

/** Answers an `update-received` that counts no round: the trainer goes on from here all the same. */
export function answerRepeatedReceipt({ roundsDone }: TrainerPace): PacedAnswer {
  return { pace: { ...freshPace, roundsDone }, answer: { type: "Continue" } };
}

/** One trainer's part of a round's samples: by speed where all speeds are known, else equal. */
function shareOf(
  paces: Readonly<Record<Peer, TrainerPace>>,
  peer: Peer,
  now: number,
  samplesPerRound: number,
): number {
  const all = Object.values(paces);
  const own = paces[peer];
  const equal = samplesPerRound / Math.max(1, all.length);
  if (own === undefined) return equal;
  const speeds = all.map((pace) => speedOf(pace, now));
  const ownSpeed = speedOf(own, now);
  if (ownSpeed === undefined || speeds.some((speed) => speed === undefined)) return equal;
  const known = speeds.filter((speed) => speed !== undefined).toSorted((one, other) => one - other);
  // The lower one of two: with two trainers, the slower one's.
  const most = speedsMax * (known[Math.floor((known.length - 1) / 2)] as number);
  const total = known.reduce((sum, speed) => sum + Math.min(speed, most), 0);
  return total > 0 ? samplesPerRound * (Math.min(ownSpeed, most) / total) : equal;
}

/** Samples a millisecond since the round's first report; undefined before a second one. */
function speedOf(pace: TrainerPace, now: number): number | undefined {
  if (pace.firstAt === undefined || now <= pace.firstAt || pace.samples <= pace.firstSamples) return undefined;
  return (pace.samples - pace.firstSamples) / (now - pace.firstAt);
}
