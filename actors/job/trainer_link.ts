/**
 * A trainer's connection to the aggregator of its training: the worker's part of a round, where the scheduler keeps the model.
 *
 * The executor names the aggregator of its specification; the link knows the present one. It keeps the newest update open until the
 * result of its round is here, and sends it again where a copy broke off or another aggregator takes over. Results are saved from the
 * start of the job on, in order, and handed to the executor when it receives.
 *
 * @module
 */
import { Deferred, Effect, FiberHandle, Schedule, type Scope } from "effect";
import type { PeerText, TransportError } from "../../transport/port.ts";
import type { Uuid } from "../../transport/protocols/messages.ts";
import type { ReadableFile, WorkDirectory } from "../files/contained_files.ts";
import type { PathError, WorkFileFailed } from "../files/path_refused.ts";
import { isFramed } from "../files/stream_file.ts";
import type { Ports } from "../runtime/ports.ts";
import { handOver, jobEnded, saveStream, sendFile } from "./copy.ts";
import type { JobLimits } from "./limits.ts";
import type { JobNetwork, PushReceiver } from "./network.ts";
import { openPush, watchStream } from "./peer_streams.ts";
import { labelOf } from "./training_network.ts";

/** Results that wait for the executor; the sender of one more has to wait. */
export const resultsWaitingMax = 16;
/**
 * A copy that broke off is repeated after this, in milliseconds. The aggregator refuses that of a newcomer at the stream, until it is
 * counted.
 */
export const sendAgainMs = 5_000;

/** Whom a trainer sends updates to, and whom it takes results of. */
export interface TrainerRoles {
  readonly aggregator: PeerText;
  readonly results: readonly PeerText[];
}

/** A result in the work directory. */
export interface SavedResult {
  readonly path: string;
  readonly sizeBytes: number;
  readonly peer: PeerText;
  readonly round: number;
}

/** What a link is opened with. */
export interface TrainerLinkInput {
  readonly network: JobNetwork;
  readonly directory: WorkDirectory;
  readonly jobId: Uuid;
  readonly limits: JobLimits;
  readonly report: Ports["report"];
  readonly roles: TrainerRoles;
  /** Rounds that are finished. */
  readonly round: number;
  /** Called when more of an update went to an aggregator than in all tries before. */
  readonly onSent?: (() => void) | undefined;
}

/** A running link. */
export interface TrainerLink {
  /** Sends an update to the aggregator in the background. The file is open when this succeeds. */
  send(path: string): Effect.Effect<void, PathError>;
  /** The oldest result that was not handed over. */
  readonly next: Effect.Effect<SavedResult>;
  /** A result was handed to the executor. */
  handed(result: SavedResult): void;
  /** Results are saved in this directory from now on. */
  receiveInto(directory: string): void;
  /** The executor fetches the parameters of a round: older results are not for it. */
  begin(round: number): Effect.Effect<void>;
  /**
   * The executor applied results up to that of this round, as it says; undefined: those that were handed to it. What it has read is
   * removed. Returns the round of its parameters.
   */
  applied(round?: number): Effect.Effect<number>;
  /** Whether the executor may have parameters of this round: not older than those it had, nor newer than what was handed to it. */
  mayHave(round: number): boolean;
  /** The executor processed so many samples in this round. */
  countSamples(samples: number): void;
  /** Another aggregator took over: it gets the update again. */
  change(roles: TrainerRoles): void;
  /** Waits until the update is sent, however often that takes. */
  readonly idle: Effect.Effect<void>;
  /** Reports the update that the end of the job cuts, once. */
  readonly tellCut: Effect.Effect<void>;
}

/** Opens the link; it ends with the scope. */
export function openTrainerLink(input: TrainerLinkInput): Effect.Effect<TrainerLink, never, Scope.Scope> {
  return Effect.gen(function* () {
    const { network, roles, round } = input;
    const receiver = yield* network.receive({ peers: roles.results, round: round + 1 });
    const sending = yield* FiberHandle.make<void, never>();
    const link = new Link(input, receiver, sending);
    yield* Effect.forkScoped(link.receiving);
    // Registered last, so that it runs first: before the copy is interrupted.
    yield* Effect.addFinalizer(() => link.tellCut);
    return link;
  });
}

/** An update that is sent. */
interface KeptUpdate {
  readonly path: string;
  readonly round: number;
  readonly samples: number;
}

class Link implements TrainerLink {
  readonly #input: TrainerLinkInput;
  readonly #receiver: PushReceiver;
  readonly #sending: FiberHandle.FiberHandle<void, never>;
  readonly #waiting = new Set<() => void>();
  #roles: TrainerRoles;
  #changes = 0;
  #into = "incoming";
  /** Rounds of the newest result that was saved, that was handed over, and that the executor applied. */
  #saved: number;
  #handed: number;
  #applied: number;
  #samples = 0;
  #queue: readonly SavedResult[] = [];
  /** Results that were handed over, and that the executor may still have to read. */
  #unread: readonly SavedResult[] = [];
  #kept: KeptUpdate | undefined;
  /** The update whose result the executor has reported. */
  #reported: KeptUpdate | undefined;
  /** Whether the kept update has to be sent: a copy is under way, or the next try is to come. */
  #isUnsent = false;

  constructor(input: TrainerLinkInput, receiver: PushReceiver, sending: FiberHandle.FiberHandle<void, never>) {
    this.#input = input;
    this.#receiver = receiver;
    this.#sending = sending;
    this.#roles = input.roles;
    this.#saved = this.#handed = this.#applied = input.round;
  }

  send(path: string): Effect.Effect<void, PathError> {
    return Effect.gen({ self: this }, function* () {
      // The update before goes on where this one cannot be read.
      yield* Effect.scoped(this.#input.directory.openForReading(path));
      const opened = yield* Deferred.make<void, PathError>();
      const update: KeptUpdate = { path, round: this.#applied + 1, samples: this.#samples };
      this.#kept = update;
      this.#isUnsent = false;
      const sent = Effect.scoped(Effect.matchEffect(this.#input.directory.openForReading(path), {
        onFailure: (error) => Effect.asVoid(Deferred.fail(opened, error)),
        onSuccess: (file) => Effect.andThen(Deferred.succeed(opened, undefined), this.#sendAsOften(file, update)),
      }));
      yield* FiberHandle.run(this.#sending, sent);
      yield* Deferred.await(opened);
    });
  }

  /** Sends an update to the aggregator, and to each that takes over, until it is interrupted: by the result of its round. */
  #sendAsOften(file: ReadableFile, update: KeptUpdate): Effect.Effect<never> {
    return Effect.forever(Effect.suspend(() => {
      const { aggregator } = this.#roles;
      const changes = this.#changes;
      let tries = 0, mostBytes = 0;
      // What a try repeats is no progress: an aggregator that refuses each one would hold the job.
      const onSent = (sentBytes: number) => {
        if (sentBytes <= mostBytes) return;
        mostBytes = sentBytes;
        this.#input.onSent?.();
      };
      const copied = Effect.retry(
        Effect.tapError(this.#copy(file, update, aggregator, onSent), (error) => {
          tries += 1;
          return Number.isInteger(Math.log2(tries)) ? this.#tellUnsent(update, aggregator, error) : Effect.void;
        }),
        Schedule.spaced(sendAgainMs),
      );
      const changed = this.#until(() => this.#changes !== changes);
      return Effect.raceFirst(Effect.andThen(Effect.ignore(copied), Effect.never), changed);
    }));
  }

  #copy(file: ReadableFile, update: KeptUpdate, aggregator: PeerText, onSent: (sentBytes: number) => void) {
    const { path, round, samples } = update;
    const { network, limits, jobId: job, report } = this.#input;
    const label = labelOf(network, { job, round, samples });
    const copy = Effect.flatMap(openPush(network, aggregator, limits.exchangeMs), (opened) => {
      const stream = watchStream(opened, onSent);
      return isFramed(stream.protocol)
        ? handOver(file, stream, { ...limits, acknowledgeMs: limits.idleMs }, label)
        : sendFile(file, stream, limits, label);
    });
    return Effect.suspend(() => {
      this.#isUnsent = true;
      return Effect.map(copy, () => {
        if (this.#kept === update) this.#isUnsent = false;
        this.#notify();
        report({
          level: "debug",
          event: "job.send.done",
          message: `${path} (${file.sizeBytes} bytes) sent to ${aggregator}`,
          fields: { job, path, peer: aggregator, round, sizeBytes: file.sizeBytes },
        });
      });
    });
  }

  get tellCut(): Effect.Effect<void> {
    return Effect.suspend(() => {
      const cut = this.#isUnsent ? this.#kept : undefined;
      this.#kept = undefined;
      return cut === undefined ? Effect.void : this.#tellUnsent(cut, this.#roles.aggregator, jobEnded());
    });
  }

  #tellUnsent(
    { path, round }: KeptUpdate,
    peer: PeerText,
    { code, message }: TransportError | WorkFileFailed,
  ): Effect.Effect<void> {
    const { report, jobId: job } = this.#input;
    return Effect.sync(() =>
      report({
        level: "warn",
        event: "job.send.failed",
        message: `${path} was not sent to ${peer}: ${message}`,
        fields: { job, path, peer, round, error: code, reason: message },
      })
    );
  }

  /** Saves results, one after the other. Ends with the transport. */
  get receiving(): Effect.Effect<void> {
    const one = Effect.gen({ self: this }, function* () {
      yield* this.#until(() => this.#queue.length < resultsWaitingMax);
      const stream = yield* this.#receiver.next;
      const { directory, limits } = this.#input;
      const round = this.#saved + 1;
      const path = `${this.#into}/round-${round}.safetensors`;
      const sizeBytes = yield* Effect.catch(
        saveStream(stream, directory, path, limits),
        (error) => Effect.as(this.#tellUnsaved(stream.peer, error), undefined),
      );
      if (sizeBytes === undefined) return;
      // The executor fetched the parameters of this round meanwhile.
      if (round <= this.#saved) return yield* Effect.ignore(directory.remove(path));
      this.#saved = round;
      this.#queue = [...this.#queue, { path, sizeBytes, peer: stream.peer, round }];
      this.#allow();
      if (this.#kept !== undefined && this.#kept.round <= round) {
        yield* FiberHandle.clear(this.#sending);
        this.#isUnsent = false;
      }
      this.#notify();
    });
    return Effect.ignore(Effect.forever(one));
  }

  #tellUnsaved(peer: PeerText, { message }: Error): Effect.Effect<void> {
    const { report, jobId: job } = this.#input;
    return Effect.sync(() =>
      report({
        level: "warn",
        event: "job.receive.failed",
        message: `a file from ${peer} was not received: ${message}`,
        fields: { job, peer, reason: message },
      })
    );
  }

  get next(): Effect.Effect<SavedResult> {
    return Effect.map(this.#until(() => this.#queue.length > 0), () => this.#queue[0] as SavedResult);
  }

  handed(result: SavedResult): void {
    this.#queue = this.#queue.filter(({ round }) => round > result.round);
    this.#handed = Math.max(this.#handed, result.round);
    this.#unread = [...this.#unread, result];
    this.#notify();
  }

  receiveInto(directory: string): void {
    this.#into = directory;
  }

  begin(round: number): Effect.Effect<void> {
    return Effect.suspend(() => {
      const stale = this.#queue.filter((result) => result.round <= round);
      this.#queue = this.#queue.filter((result) => result.round > round);
      this.#saved = Math.max(this.#saved, round);
      this.#handed = this.#applied = round;
      this.#samples = 0;
      this.#allow();
      this.#notify();
      return this.#remove(stale);
    });
  }

  mayHave(round: number): boolean {
    return round >= this.#applied && round <= this.#handed;
  }

  applied(round?: number): Effect.Effect<number> {
    return Effect.suspend(() => {
      const read = this.#takeRead(round);
      this.#applied = round ?? this.#handed;
      this.#samples = 0;
      return Effect.as(this.#remove(read), this.#applied);
    });
  }

  /**
   * Results that the executor has read: those up to the round that it names. Where it names none: after an update it waits for a result
   * and takes those that have come, which are what it had before this update, or else the oldest. One that came just before its report
   * may be unread.
   */
  #takeRead(applied?: number): readonly SavedResult[] {
    // A report is repeated where its answer was lost.
    if (applied === undefined && this.#reported === this.#kept) return [];
    this.#reported = this.#kept;
    const upTo = applied ?? Math.max(this.#unread[0]?.round ?? 0, this.#applied);
    const read = this.#unread.filter(({ round }) => round <= upTo);
    this.#unread = this.#unread.filter(({ round }) => round > upTo);
    return read;
  }

  #remove(results: readonly SavedResult[]): Effect.Effect<void> {
    const { directory } = this.#input;
    return Effect.forEach(results, ({ path }) => Effect.ignore(directory.remove(path)), { discard: true });
  }

  countSamples(samples: number): void {
    this.#samples += samples;
  }

  change(roles: TrainerRoles): void {
    this.#roles = roles;
    this.#changes += 1;
    // The worker that aggregated before may do so again, in another job.
    for (const peer of roles.results) this.#receiver.forget(peer);
    this.#receiver.keep(roles.results);
    this.#allow();
    this.#notify();
  }

  get idle(): Effect.Effect<void> {
    return this.#until(() => !this.#isUnsent);
  }

  #allow(): void {
    this.#receiver.allow(this.#roles.results, this.#saved + 1);
  }

  #notify(): void {
    for (const check of [...this.#waiting]) check();
  }

  #until(holds: () => boolean): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const check = () => {
        if (!holds()) return;
        this.#waiting.delete(check);
        resume(Effect.void);
      };
      this.#waiting.add(check);
      check();
      return Effect.sync(() => void this.#waiting.delete(check));
    });
  }
}
