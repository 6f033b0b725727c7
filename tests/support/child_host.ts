/**
 * A parent that keeps what its one child says, over the real world's ports.
 *
 * @module
 */
import { type AnyActorLogic, type AnyStateMachine, createActor, createMachine, type InputFrom } from "xstate";
import type { Ports, Report } from "../../actors/runtime/ports.ts";
import { makePorts } from "../../scripts/program/ports.ts";

/** What a child said to its parent. */
export interface Said {
  readonly type: string;
  readonly [key: string]: unknown;
}

/** A running child. */
export interface Host {
  readonly said: readonly Said[];
  readonly reports: readonly Report[];
  readonly send: (event: Said) => void;
  /** Waits for the event number `count` (from 1) of this type; fails with all that was said after `withinMs`. */
  readonly hear: (type: string, count?: number, withinMs?: number) => Promise<Said>;
  /** The same for reports, by their event. */
  readonly see: (event: string, count?: number, withinMs?: number) => Promise<Report>;
  readonly stop: () => Promise<void>;
}

/** Starts a child with the real world's ports; `now` may be another clock. */
export function host<Logic extends AnyActorLogic>(
  logic: Logic,
  input: Omit<InputFrom<Logic>, "ports">,
  now?: () => number,
): Host {
  const said: Said[] = [];
  const reports: Report[] = [];
  const real = makePorts((report) => void reports.push(report));
  const ports: Ports = { ...real, ...(now === undefined ? {} : { now }) };
  const parent = createMachine({
    invoke: { id: "child", src: logic, input: { ...input, ports } },
    on: { "*": { actions: ({ event }) => void said.push(event as Said) } },
  });
  const actor = createActor(parent as unknown as AnyStateMachine);
  actor.subscribe({ error: (error) => void said.push({ type: "died", error }) });
  actor.start();
  const wait = async <T>(what: string, find: () => T | undefined, withinMs: number): Promise<T> => {
    const deadline = performance.now() + withinMs;
    for (;;) {
      const found = find();
      if (found !== undefined) return found;
      if (performance.now() > deadline) {
        const heard = [...said.map(({ type }) => type), ...reports.map(({ event, message }) => `${event}: ${message}`)];
        throw new Error(`no ${what} within ${withinMs} ms; there was ${heard.join(", ")}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  return {
    said,
    reports,
    send: (event) => {
      (actor.getSnapshot() as { children: Record<string, { send(event: Said): void }> }).children["child"]?.send(event);
    },
    hear: (type, count = 1, withinMs = 15_000) =>
      wait(`${type} ${count}`, () => said.filter((each) => each.type === type)[count - 1], withinMs),
    see: (event, count = 1, withinMs = 15_000) =>
      wait(`${event} ${count}`, () => reports.filter((each) => each.event === event)[count - 1], withinMs),
    stop: () => {
      actor.stop();
      return real.dispose();
    },
  };
}
