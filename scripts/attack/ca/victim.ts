/**
 * The CA under attack, in a process of its own: `hypha-ca run` as it is started by its users, with a clock on its event loop.
 *
 * Reads lines on standard input. `footprint` is answered with a {@linkcode CaFootprint}. The log's lines are counted, not written.
 *
 * @module
 */
import process from "node:process";
import { createInterface } from "node:readline";
import { runCa } from "../../ca/program.ts";
import { memoryAfterCollection, openSockets } from "../own_process.ts";

/** What the process says about itself. */
export interface CaFootprint {
  readonly fds: number;
  readonly heapBytes: number;
  readonly rssBytes: number;
  readonly unhandled: number;
  /** Most processor time between two ticks of a timer since the last footprint, in milliseconds: the longest piece of work. */
  readonly pieceMs: number;
  /** Lines of the log by their event. */
  readonly events: Readonly<Record<string, number>>;
}

const tickMs = 2;
const [config = ""] = process.argv.slice(2);
const events: Record<string, number> = {};
let unhandled = 0;
for (const kind of ["uncaughtException", "unhandledRejection"] as const) process.on(kind, () => unhandled += 1);

/** The log goes to standard error; each write is a line or several. */
process.stderr.write = ((text: string | Uint8Array, ...more: readonly unknown[]) => {
  for (const line of String(text).split("\n").filter((each) => each.startsWith("{"))) {
    const { event } = JSON.parse(line) as { readonly event: string };
    events[event] = (events[event] ?? 0) + 1;
    if (event === "ca.listening") process.stdout.write("{}\n");
  }
  const done = more.at(-1);
  if (typeof done === "function") queueMicrotask(done as () => void);
  return true;
}) as typeof process.stderr.write;

/** Processor time of this thread; Deno tells that of the process, in steps of 10 ms. */
const spentMs = () => {
  const { user, system } = "Deno" in globalThis ? process.cpuUsage() : process.threadCpuUsage();
  return (user + system) / 1_000;
};
let [pieceMs, spent, at] = [0, spentMs(), performance.now()];
setInterval(() => {
  const [nowSpent, now] = [spentMs(), performance.now()];
  pieceMs = Math.max(pieceMs, Math.min(nowSpent - spent, now - at));
  [spent, at] = [nowSpent, now];
}, tickMs).unref();

function footprint(): CaFootprint {
  const piece = pieceMs;
  const { heapBytes } = memoryAfterCollection();
  // The collection is no work of the CA.
  [pieceMs, spent, at] = [0, spentMs(), performance.now()];
  return { fds: openSockets(), heapBytes, rssBytes: process.memoryUsage().rss, unhandled, pieceMs: piece, events };
}

createInterface({ input: process.stdin }).on("line", (line) => {
  if (line === "footprint") process.stdout.write(`${JSON.stringify(footprint())}\n`);
  else process.kill(process.pid, "SIGTERM");
});
const { code } = await runCa(["run", "-c", config, "--log-format", "json"]);
process.exit(code);
