/**
 * The promises of the demo, checked with the logs of its nodes.
 *
 * @module
 */
import type { Way } from "./certifier.ts";
import type { DemoModel } from "./network.ts";
import type { Joined } from "./network_start.ts";
import type { TrainerLanguage } from "./options.ts";
import type { LogEvent, NodeProcess } from "./processes.ts";

/** Least accuracy on the held-out fifth, and most accuracy of the control with shuffled labels. */
export const accuracyMin = 0.95;
const shuffledAccuracyMax = 0.2;
/**
 * To the connection closed, in milliseconds: by hand from the list written, with a CA from the start of `hypha-ca revoke`, whose
 * list travels through the network.
 */
const closedMaxMs = { ca: 2_000, "by-hand": 1_000 } as const;
/** Processor time from nothing to a worker that joined, in seconds. */
const joinedMaxS = 60;
/** The exit code of a node whose own certificate was revoked, in a network with a CA. */
const revokedExitCode = 3;

/** The verdict when nothing broke. */
export const allHeld = "all promises held";

/** The results of the network, as `--json` prints them. */
export interface DemoResult {
  readonly runtime: string;
  readonly nodes: number;
  /** The rounds that were finished. The accuracy is null where the round was shorter than an evaluation, which then left it out. */
  readonly rounds: readonly { readonly round: number; readonly accuracy: number | null }[];
  /** Null when training did not come to its end. */
  readonly accuracy: number | null;
  /** The file that the training left; null when training did not come to its end. */
  readonly model: DemoModel | null;
  readonly bytes: number;
  readonly accepted: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly revocation: { readonly closedMs: Readonly<Record<string, number | null>> };
  /** The language of the trainers. */
  readonly executor: TrainerLanguage;
  /** Each process that was killed in the middle of training, and the rounds that were finished after its loss. */
  readonly recovered: readonly { readonly killed: string; readonly rounds: number }[];
  /** From nothing to the first worker that joined; null with `--by-hand`, or where the demo did not come so far. */
  readonly joined: Joined | null;
  readonly seconds: number;
}

/** A trainer's certificate was revoked. */
export interface RevocationFacts {
  readonly name: string;
  /** How long each node took to close the connection; null where it did not. */
  readonly closedMs: Readonly<Record<string, number | null>>;
  /** The code that its redial met. */
  readonly redialCode: string;
  /** Nodes that must have been connected with it. */
  readonly connectedMin: readonly string[];
}

/** A trainer took another key. */
export interface RenewalFacts {
  readonly name: string;
  /** Its PeerID before: it ends its round under it, and joins again under the new one. */
  readonly formerPeer: string;
  /** When, in milliseconds since the epoch. */
  readonly at: number;
  /** Rounds that were finished afterwards. */
  readonly roundsAfter: number;
  /** Why the scheduler lost it; undefined where it did not. */
  readonly lost: string | undefined;
}

/** A process was killed. */
export interface Kill {
  /** The node's name. */
  readonly killed: string;
  /** When the scheduler noticed, in milliseconds since the epoch. */
  readonly lostAt: number;
}

/** How one promise came out. */
interface PromiseOutcome {
  readonly promise: string;
  /** Null where the demo did not come so far. */
  readonly held: boolean | null;
  /** The reasons why it is broken, one line each. */
  readonly broken: readonly string[];
}

/** The promises' outcomes, as `--json` adds them to the result. */
export interface Verdict {
  /** {@linkcode allHeld}, or `broken: ` and the broken promises. */
  readonly verdict: string;
  readonly promises: readonly PromiseOutcome[];
}

/** Observations in addition to the result; undefined if the demo stopped before. */
export interface DemoFacts {
  readonly way: Way;
  readonly shuffleLabels: boolean;
  readonly roundsWanted: number;
  /** Why the demo stopped before its end. */
  readonly stopped: string | undefined;
  /** When the late worker was ready, and when training ended, in milliseconds since the epoch. */
  readonly late?: { readonly readyAt: number; readonly doneAt: number } | undefined;
  readonly renewal?: RenewalFacts | undefined;
  readonly revoked?: Omit<RevocationFacts, "closedMs"> | undefined;
  readonly intruders?: readonly { readonly name: string; readonly wanted: string; readonly met: string }[] | undefined;
  readonly exits?: readonly { readonly name: string; readonly code: number | undefined }[] | undefined;
  /** Processes and work directories that are left. */
  readonly left?: readonly string[] | undefined;
}

const number = (value: unknown): number => (typeof value === "number" ? value : 0);
const at = ({ time }: LogEvent): number => Date.parse(time);

/** Whether a node had a connection with `peer` at a time (milliseconds since the epoch), by its log. */
function wasConnected(node: NodeProcess, peer: string, when: number): boolean {
  const last = node.events
    .filter(({ event, peer: of }) => (event === "peer.established" || event === "peer.closed") && of === peer)
    .filter((event) => at(event) <= when)
    .at(-1);
  return last?.event === "peer.established";
}

/** How long after `when` each node that was connected with `peer` closed it; null where it did not. */
export function closingTimes(nodes: readonly NodeProcess[], peer: string, when: number): Record<string, number | null> {
  const connected = nodes.filter((node) => wasConnected(node, peer, when));
  return Object.fromEntries(connected.map((node) => {
    const closed = node.events.find((event) =>
      event.event === "peer.closed" && event["peer"] === peer && at(event) >= when
    );
    return [node.name, closed === undefined ? null : Math.round(at(closed) - when)];
  }));
}

/** Sums the summaries that the nodes logged at their end. */
export function summarise(nodes: readonly NodeProcess[]): Pick<DemoResult, "bytes" | "accepted" | "refused"> {
  const refused: Record<string, number> = {};
  let bytes = 0;
  let accepted = 0;
  for (const node of nodes) {
    const summary = node.events.findLast(({ event }) => event === "node.summary");
    bytes += number(summary?.["bytesSent"]);
    accepted += number(summary?.["accepted"]);
    for (const [code, count] of Object.entries((summary?.["refused"] ?? {}) as Record<string, unknown>)) {
      refused[code] = (refused[code] ?? 0) + number(count);
    }
  }
  return { bytes, accepted, refused };
}

const percent = (value: number) => `${(value * 100).toFixed(1)} %`;

function brokenLearning(accuracy: number, shuffleLabels: boolean): string[] {
  if (shuffleLabels) {
    const learnt = `accuracy on shuffled labels is ${percent(accuracy)}, not under ${percent(shuffledAccuracyMax)}`;
    return accuracy < shuffledAccuracyMax ? [] : [learnt];
  }
  return accuracy >= accuracyMin ? [] : [`accuracy is ${percent(accuracy)}, under ${percent(accuracyMin)}`];
}

function brokenClosings(
  { revocation: { closedMs } }: DemoResult,
  connectedMin: readonly string[],
  maxMs: number,
): string[] {
  const late = Object.entries(closedMs).flatMap(([node, ms]) => {
    if (ms === null) return [`${node} did not close the revoked worker's connection`];
    return ms > maxMs ? [`${node} closed the revoked worker after ${ms} ms, over ${maxMs} ms`] : [];
  });
  const absent = connectedMin.filter((node) => !(node in closedMs));
  return [...late, ...absent.map((node) => `${node} has no closedMs: it was not connected with the revoked worker`)];
}

/** The rounds that were finished, each with its accuracy. */
export function roundsIn(events: readonly LogEvent[]): DemoResult["rounds"] {
  const of = (name: string) => events.filter(({ event }) => event === name);
  const accuracies = new Map(of("round.evaluated").map(({ round, accuracy }) => [round, Number(accuracy)]));
  return of("round.finished").map(({ round }) => ({ round: Number(round), accuracy: accuracies.get(round) ?? null }));
}

/** The rounds that were finished after each kill. */
export const recoveredFrom = (kills: readonly Kill[], events: readonly LogEvent[]): DemoResult["recovered"] =>
  kills.map(({ killed, lostAt }) => ({
    killed,
    rounds: events.filter((event) => event.event === "round.finished" && at(event) > lostAt).length,
  }));

/** A promise, and the reasons why it is broken; undefined where the demo did not come so far. */
type Judged = readonly [promise: string, broken: readonly string[] | undefined];

function judgeTraining(
  { accuracy, rounds, model, recovered }: DemoResult,
  { shuffleLabels, roundsWanted }: DemoFacts,
): readonly Judged[] {
  const learning = shuffleLabels
    ? `shuffled labels teach nothing: accuracy under ${percent(shuffledAccuracyMax)}`
    : `accuracy on held-out rows is at least ${percent(accuracyMin)}`;
  const isTrained = accuracy !== null;
  const few = rounds.length < roundsWanted ? [`${rounds.length} rounds were finished, not ${roundsWanted}`] : [];
  const last = rounds.at(-1)?.accuracy ?? null;
  const blind = few.length === 0 && last === null ? ["the last round was not evaluated"] : [];
  const stuck = recovered.filter((each) => each.rounds === 0)
    .map(({ killed }) => `no round was finished after ${killed}, the aggregator, had been killed`);
  const other = model?.round === roundsWanted
    ? []
    : [`the model is that of round ${model?.round ?? "none"}, not ${roundsWanted}`];
  return [
    [learning, isTrained ? brokenLearning(accuracy, shuffleLabels) : undefined],
    [
      "every round is finished, and the last one evaluated by a program in a cell",
      isTrained ? [...few, ...blind] : undefined,
    ],
    ["training recovers when its aggregator is killed", recovered.length > 0 ? stuck : undefined],
    ["the scheduler holds the model of the last round", isTrained ? other : undefined],
  ];
}

/** What a CA that runs adds. */
function judgeMembership({ joined }: DemoResult, { late, renewal }: DemoFacts): readonly Judged[] {
  return [
    [
      `from nothing to a worker that joined: at most ${joinedMaxS} s of processor time`,
      joined === null
        ? undefined
        : joined.processorSeconds <= joinedMaxS
        ? []
        : [`a worker that joined took ${joined.processorSeconds} s of processor time, over ${joinedMaxS} s`],
    ],
    [
      "a worker joins by a token in the middle of training",
      late && (late.readyAt < late.doneAt ? [] : ["the late worker was ready after training had ended"]),
    ],
    ["a trainer takes another key and goes on training", renewal && brokenRenewal(renewal)],
  ];
}

function brokenRenewal({ name, lost, roundsAfter }: RenewalFacts): string[] {
  if (lost !== undefined) return [`the scheduler lost ${name}, which took another key: ${lost}`];
  return roundsAfter > 0 ? [] : [`no round was finished after ${name} had taken another key`];
}

function judgeEnds({ way, revoked, intruders, exits, left }: DemoFacts): readonly Judged[] {
  const wantedExit = (name: string) => way === "ca" && name === revoked?.name ? revokedExitCode : 0;
  const exit = way === "ca"
    ? `every node ends with exit code 0, the revoked trainer with ${revokedExitCode}`
    : "every node ends with exit code 0";
  return [
    [
      "every intruder is refused for its own fault",
      intruders?.filter(({ wanted, met }) => wanted !== met)
        .map(({ name, wanted, met }) => `the intruder (${name}) met ${met}, not ${wanted}`),
    ],
    [
      exit,
      exits?.filter(({ name, code }) => code !== wantedExit(name))
        .map(({ name, code }) => `${name} ended with exit code ${code ?? "unknown"}, not ${wantedExit(name)}`),
    ],
    ["no process and no work directory is left", left],
  ];
}

/** Evaluates each promise. */
export function evaluate(result: DemoResult, facts: DemoFacts): Verdict {
  const { way, stopped, revoked } = facts;
  const all: readonly Judged[] = [
    ["every stage comes to its end", stopped === undefined ? [] : [stopped]],
    ...judgeTraining(result, facts),
    ...(way === "ca" ? judgeMembership(result, facts) : []),
    [
      `every connection with the revoked trainer is closed within ${closedMaxMs[way]} ms`,
      revoked && brokenClosings(result, revoked.connectedMin, closedMaxMs[way]),
    ],
    [
      "the revoked trainer is refused when it dials again",
      revoked &&
      (revoked.redialCode === "certificate-revoked"
        ? []
        : [`the revoked worker's redial met ${revoked.redialCode}, not certificate-revoked`]),
    ],
    ...judgeEnds(facts),
  ];
  const promises = all.map(([promise, broken]) => ({
    promise,
    held: broken === undefined ? null : broken.length === 0,
    broken: broken ?? [],
  }));
  const broken = promises.flatMap((each) => each.broken);
  const unseen = promises.filter(({ held }) => held === null).map(({ promise }) => `not seen: ${promise}`);
  const complaints = broken.length === 0 ? unseen : broken;
  return { verdict: complaints.length === 0 ? allHeld : `broken: ${complaints.join("; ")}`, promises };
}
