/**
 * The world, as a program gives it to its actors: the real clock, randomness, identifiers, files and processes.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import * as NodeServices from "@effect/platform-node/NodeServices";
import { ManagedRuntime } from "effect";
import type { Ports, Report } from "../../actors/ports.ts";

/** Ports over the real world. */
export interface RealPorts extends Ports {
  /** Interrupts every Effect still running and releases their services. */
  readonly dispose: () => Promise<void>;
}

/** Makes ports that report to `report`. */
export function makePorts(report: (report: Report) => void): RealPorts {
  const runtime = ManagedRuntime.make(NodeServices.layer);
  return {
    now: () => Date.now(),
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
