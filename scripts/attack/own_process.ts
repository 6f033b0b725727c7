/**
 * What a process knows about itself.
 *
 * @module
 */
import { readdirSync, readlinkSync } from "node:fs";
import process from "node:process";

/** Open sockets. A runtime opens other descriptors when it likes, so they say nothing. */
export function openSockets(): number {
  let count = 0;
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:")) count += 1;
    } catch {
      // the descriptor of the listing itself
    }
  }
  return count;
}

/** Memory after a collection, in bytes. */
export function memoryAfterCollection(): { readonly heapBytes: number; readonly externalBytes: number } {
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return { heapBytes: heapUsed, externalBytes: external };
}

/** Processor time of this thread, in milliseconds: other programs make a piece of work late, not longer. */
export function spentMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}
