/**
 * `Ports.run` in virtual time: runs the Effects of a simulated node with its clock, scheduler, disk and randomness.
 *
 * @module
 */
import { Cause, Clock, Context, Effect, Exit } from "effect";
import { FileSystem } from "effect/FileSystem";
import { layer as posixPathLayer, Path } from "effect/Path";
import * as Random from "effect/Random";
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner";
import { Scheduler } from "effect/Scheduler";
import { FreeSpace } from "../files/free_space.ts";
import type { Run, Services } from "../runtime/ports.ts";
import type { NodeClock } from "./node_clock.ts";
import { NotSimulated } from "./open_file.ts";

/** The services of a node's Effects. */
export interface VirtualRunOptions {
  readonly clock: NodeClock;
  readonly disk: FileSystem;
  /** Evenly spread in [0, 1). */
  readonly random: () => number;
}

/** Makes a `run`: an Effect starts at once, and `onExit` is called in a turn of its own. */
export function makeVirtualRun({ clock, disk, random }: VirtualRunOptions): Run {
  const services = Context.empty().pipe(
    Context.add(Clock.Clock, clock.effectClock),
    Context.add(Scheduler, clock.effectScheduler),
    Context.add(Random.Random, {
      nextDoubleUnsafe: random,
      nextIntUnsafe: () => Math.floor(random() * 2 ** 53) - 2 ** 52,
    }),
    // One for each process: operations under way end with it, and those of the next do not wait for them.
    Context.add(FileSystem, { ...disk }),
    Context.add(Path, posixPath),
    Context.add(ChildProcessSpawner, noProcesses),
    // A full disk shows when it is written to.
    Context.add(FreeSpace, () => Effect.succeed(Number.POSITIVE_INFINITY)),
  ) as unknown as Context.Context<Services>;
  const fork = Effect.runForkWith(services);
  return (effect, onExit) => {
    const fiber = fork(effect);
    fiber.addObserver((exit) => {
      clock.after(0, () => {
        if (Exit.isFailure(exit)) throwUnsimulated(exit.cause);
        onExit(exit);
      });
    });
    return () => fiber.interruptUnsafe();
  };
}

/** Ends the run at a call that the simulation does not support: an actor would treat the defect as a failure, and could retry without end. */
function throwUnsimulated(cause: Cause.Cause<unknown>): void {
  const error = Cause.squash(cause);
  if (error instanceof NotSimulated) throw error;
}

/** Paths are text: there is nothing to simulate. */
const posixPath: Path = Effect.runSync(Effect.provide(Path, posixPathLayer));

/** A simulated node starts no process: `executor.ts` simulates its executors. */
const noProcesses = new Proxy({}, {
  get: () => {
    throw new Error("Cannot start a process: this node is simulated");
  },
}) as ChildProcessSpawner["Service"];
