/**
 * The real ports of a program or an application: clock, randomness, identifiers, files and processes. The only file outside
 * `scripts/` that reads the clock or draws random numbers: all other files take them from ports.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import * as NodeChildProcessSpawner from "@effect/platform-node-shared/NodeChildProcessSpawner";
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import * as NodePath from "@effect/platform-node-shared/NodePath";
import { Layer, ManagedRuntime } from "effect";
import type { Ports, Report, Services } from "./ports.ts";

/** Ports over the real world. */
export interface RealPorts extends Ports {
  /** Interrupts every Effect that still runs and releases their services. */
  readonly dispose: () => Promise<void>;
}

/** Files, paths and processes of the machine; the same on Node and on Deno. */
export const realServices: Layer.Layer<Services> = Layer.provideMerge(
  NodeChildProcessSpawner.layer,
  Layer.mergeAll(NodeFileSystem.layer, NodePath.layer),
);

/** The real clock: milliseconds since the epoch. */
export function realNow(): number {
  return Date.now();
}

/** The same without the steps of the system's clock since the process began. */
export function realMonotonic(): number {
  return Math.floor(performance.timeOrigin + performance.now());
}

/**
 * Makes ports over the real world. A caller that is done with them calls `dispose`.
 *
 * @param report Receives each line of the log.
 */
export function makePorts(report: (report: Report) => void): RealPorts {
  const runtime = ManagedRuntime.make(realServices);
  return {
    now: realNow,
    monotonic: realMonotonic,
    random: () => Math.random(),
    uuid: () => randomUUID(),
    report,
    run: (effect, onExit) => {
      const fiber = runtime.runFork(effect);
      fiber.addObserver((exit) => void queueMicrotask(() => onExit(exit)));
      return () => fiber.interruptUnsafe();
    },
    dispose: () => runtime.dispose(),
  };
}
