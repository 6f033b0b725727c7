/**
 * What can be said of a training without looking at its actor: which members took part and what each did last, losses, rejections, bytes.
 * It is gathered from the lines that the training reports, and survives it.
 *
 * @module
 */
import type { Report } from "../runtime/ports.ts";

/** Losses of rounds that are remembered. */
const lossesMax = 1_000;
/** Members that are remembered, those that left included. */
const membersMax = 1_000;
/** Codes of rejections with a count of their own. */
const codesMax = 64;
/** Longest remembered text, in characters. */
const textMax = 200;

/** What is known of a member, by its certificate's name. */
export interface WatchedMember {
  readonly part: "trainer" | "aggregator";
  readonly is: "in" | "out";
  /** What it did last, or why it is out. */
  readonly last: string;
  /** When that was, in milliseconds since the epoch. */
  readonly at: number;
  /** Its newest loss. */
  readonly loss: number | null;
}

/** What is known of a training. */
export interface TrainingWatch {
  readonly run: number | null;
  /** Rounds that are finished. */
  readonly round: number;
  /** When the newest was finished, in milliseconds since the epoch. */
  readonly roundAt: number | null;
  /** How long the newest took, in seconds; null for the first of a run. */
  readonly roundSeconds: number | null;
  /** Mean of the members' losses in each round, the newest last. */
  readonly losses: readonly { readonly round: number; readonly loss: number }[];
  readonly accuracy: number | null;
  /** The round of the accuracy. */
  readonly accuracyRound?: number;
  readonly members: Readonly<Record<string, WatchedMember>>;
  /** Updates that were rejected, as the aggregator claims, by code. */
  readonly rejections: Readonly<Record<string, number>>;
  /** Bytes of the model: results that the scheduler received, parameters that it served. */
  readonly bytes: { readonly received: number; readonly sent: number };
}

/** Nothing has happened. */
export const emptyWatch: TrainingWatch = {
  run: null,
  round: 0,
  roundAt: null,
  roundSeconds: null,
  losses: [],
  accuracy: null,
  members: {},
  rejections: {},
  bytes: { received: 0, sent: 0 },
};

/** A line of a training, and the certificate's name of the peer that it is about. */
export interface ReportedLine {
  readonly report: Report;
  readonly name: string | undefined;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

type Fields = Readonly<Record<string, unknown>>;
type Change = (watch: TrainingWatch, fields: Fields, line: ReportedLine) => TrainingWatch;

const changes: Readonly<Record<string, Change>> = {
  "run.began": (watch, { run, round }) => {
    const began = { ...watch, run: countOf(run), roundAt: null, members: allOut(watch) };
    return round === undefined ? began : continueAfter(began, countOf(round));
  },
  "training.continued": (watch, { round }) => continueAfter(watch, countOf(round)),
  "lease.granted": (watch, { class: of }, line) =>
    withMember(watch, line, {
      part: of === "aggregate" ? "aggregator" : "trainer",
      is: "in",
      last: "leased",
      loss: null,
    }),
  "job.dispatched": (watch, _, line) => withMember(watch, line, { last: "got its job" }),
  "round.metrics": (watch, { round, metrics }, line) => {
    const loss = lossIn(metrics);
    return withMember(watch, line, { last: `reports round ${countOf(round)}`, ...(loss === null ? {} : { loss }) });
  },
  "round.finished": finishRound,
  "round.evaluated": (watch, { accuracy, round }) => ({
    ...watch,
    accuracy: numberOf(accuracy),
    accuracyRound: countOf(round),
  }),
  "update.rejected": (watch, { code, round }, line) =>
    withRejection(withMember(watch, line, { last: `its update of round ${countOf(round)} was rejected` }), code),
  "update.clipped": (watch, { round }, line) =>
    withMember(watch, line, { last: `its update of round ${countOf(round)} was scaled down` }),
  "trainer.lost": out,
  "aggregator.lost": out,
  "trainer.left": out,
  "aggregator.left": out,
  "job.ended": (watch, { outcome }, line) => withMember(watch, line, { last: `its job ended: ${textOf(outcome)}` }),
  "allocation.regrouped": (watch) => ({ ...watch, members: allOut(watch) }),
  "training.done": (watch) => ({ ...watch, members: allOut(watch) }),
  "model.served": (watch, { sizeBytes }) => ({
    ...watch,
    bytes: { ...watch.bytes, sent: watch.bytes.sent + countOf(sizeBytes) },
  }),
};

/** The watch after a line. */
export function watchLine(watch: TrainingWatch, line: ReportedLine): TrainingWatch {
  const { event, fields = {} } = line.report;
  const change = Object.hasOwn(changes, event) ? changes[event] : undefined;
  return change === undefined ? watch : change(watch, fields, line);
}

/** What is known of a member. Certificates choose their names: inherited properties are no members. */
export function watchedMember({ members }: TrainingWatch, name: string): WatchedMember | undefined {
  return Object.hasOwn(members, name) ? members[name] : undefined;
}

/** Members that are in. */
export function membersIn({ members }: TrainingWatch): number {
  return Object.values(members).filter(({ is }) => is === "in").length;
}

/** The training goes on after a round: those after it are made again, and what is known of them is dropped. */
function continueAfter(watch: TrainingWatch, round: number): TrainingWatch {
  const { accuracy, accuracyRound, ...rest } = watch;
  const isMeasured = (accuracyRound ?? watch.round) <= round;
  return {
    ...rest,
    round,
    roundSeconds: watch.round <= round ? watch.roundSeconds : null,
    losses: watch.losses.filter((each) => each.round <= round),
    accuracy: isMeasured ? accuracy : null,
    ...(isMeasured && accuracyRound !== undefined ? { accuracyRound } : {}),
  };
}

function finishRound(watch: TrainingWatch, { round, resultBytes }: Fields, { at }: ReportedLine): TrainingWatch {
  const done = countOf(round);
  const losses = Object.values(watch.members).flatMap(({ is, loss }) => is === "in" && loss !== null ? [loss] : []);
  const mean = losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  const earlier = watch.losses.filter((each) => each.round < done);
  return {
    ...watch,
    round: done,
    roundAt: at,
    roundSeconds: watch.roundAt === null ? null : (at - watch.roundAt) / 1_000,
    losses: losses.length === 0 ? earlier : [...earlier, { round: done, loss: mean }].slice(-lossesMax),
    bytes: { ...watch.bytes, received: watch.bytes.received + countOf(resultBytes) },
  };
}

function out(watch: TrainingWatch, { reason }: Fields, line: ReportedLine): TrainingWatch {
  return withMember(watch, line, { is: "out", last: textOf(reason) });
}

function withMember(
  watch: TrainingWatch,
  { name, at }: ReportedLine,
  change: Partial<Omit<WatchedMember, "at">>,
): TrainingWatch {
  if (name === undefined) return watch;
  const known = watchedMember(watch, name) ?? { part: "trainer", is: "in", last: "", at, loss: null };
  const kept = Object.entries(watch.members).filter(([other]) => other !== name).slice(1 - membersMax);
  return { ...watch, members: Object.fromEntries([...kept, [name, { ...known, ...change, at }]]) };
}

function allOut({ members }: TrainingWatch): TrainingWatch["members"] {
  return Object.fromEntries(
    Object.entries(members).map(([name, member]) => [name, { ...member, is: "out" as const }]),
  );
}

function withRejection(watch: TrainingWatch, code: unknown): TrainingWatch {
  const named = textOf(code) || "rejected";
  const { rejections } = watch;
  const counts = new Map(Object.entries(rejections));
  const key = !counts.has(named) && counts.size >= codesMax ? "other" : named;
  counts.set(key, (counts.get(key) ?? 0) + 1);
  return { ...watch, rejections: Object.fromEntries(counts) };
}

const textOf = (value: unknown): string => typeof value === "string" ? value.slice(0, textMax) : "";
const numberOf = (value: unknown): number | null => typeof value === "number" && Number.isFinite(value) ? value : null;
const countOf = (value: unknown): number => Math.max(0, numberOf(value) ?? 0);

function lossIn(metrics: unknown): number | null {
  return typeof metrics === "object" && metrics !== null
    ? numberOf((metrics as Readonly<Record<string, unknown>>)["loss"])
    : null;
}
