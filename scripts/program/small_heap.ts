/**
 * Keeps V8's young generation small: what a program's start leaves behind, and what a busy node lets it grow to. Deno does the
 * first itself.
 *
 * @module
 */
import { PerformanceObserver } from "node:perf_hooks";
import { getHeapSpaceStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/**
 * Stops V8's young generation from growing, before the program's modules are loaded: their garbage lets it grow to 48 MB, which V8 keeps
 * and never returns to the system. For a program that is idle most of the time: short-lived objects are collected more often. Measured on
 * Node with `hypha-ca run` from the tree: 202 MB resident before, 155 MB with it.
 */
export function keepHeapSmall(): void {
  if (!("Deno" in globalThis)) setFlagsFromString("--semi-space-growth-factor=1");
}

/**
 * Collects what the loading of the program's modules left, and gives the memory back: V8 keeps up to 32 MB for a young generation that has
 * grown, and would only return it where memory is short. It grows again under load. Takes 65 ms on an idle machine, so it is called
 * before a node serves.
 */
export function returnStartMemory(): void {
  if ("Deno" in globalThis) return;
  setFlagsFromString("--expose-gc");
  // A context that is made now has the function; this program's own has none, as before.
  const collect: unknown = runInNewContext("gc");
  setFlagsFromString("--no-expose-gc");
  if (typeof collect === "function") collect({ type: "major", execution: "sync", flavor: "last-resort" });
}

/** Octets of V8's young generation, both halves, above which it does not grow. */
export const youngBytesMax = 16 * 1_048_576;

/**
 * Keeps V8's young generation from growing to 64 MB under load. With 16 MB a handshake takes as much processor time, and the event loop stands
 * still half as long when trust changes; with 2 MB, as {@linkcode keepHeapSmall} has it, a handshake takes a sixth more. No flag limits it
 * after V8's start, so after each collection its growth is stopped or allowed again: it shrinks by itself while the node is idle. Between two
 * looks it may double once more. Deno's grows to 13 MB, in one of thirty runs of a test to 60: it tells of no collections, and the growth
 * factor does not stop it.
 */
export function boundYoungGeneration(): void {
  if ("Deno" in globalThis) return;
  let grows = true;
  const look = () => {
    const young = getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space");
    const mayGrow = young === undefined || young.space_size < youngBytesMax;
    if (mayGrow === grows) return;
    grows = mayGrow;
    setFlagsFromString(`--semi-space-growth-factor=${grows ? 2 : 1}`);
  };
  new PerformanceObserver(look).observe({ entryTypes: ["gc"] });
}
