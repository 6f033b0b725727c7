/**
 * P12: a slice from a data node to a worker's file, compared with a stream of the same size without files (that of P7). P14: the
 * longest stall of the worker's event loop meanwhile.
 *
 * The data node has its own process. This process is the worker: transport, pull, work directory, checks of length and digest.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Effect } from "effect";
import { makePorts } from "../../../actors/runtime/real_ports.ts";
import { makeJobNetworkHost } from "../../../actors/job/job_network.ts";
import { saveStream } from "../../../actors/job/copy.ts";
import { jobLimits } from "../../../actors/job/limits.ts";
import { openWorkDirectory } from "../../../actors/files/contained_files.ts";
import { openPull } from "../../../actors/job/peer_streams.ts";
import { isFramed } from "../../../actors/files/stream_file.ts";
import { boundYoungGeneration } from "../../program/small_heap.ts";
import type { DialAnswer } from "../../../transport/port.ts";
import { Pair } from "../gate/pair.ts";
import { type BenchWorld, type EndFiles, makeBenchWorld } from "../gate/world.ts";
import { type BenchRow, makeRow, type Speed, speedRows } from "../row.ts";
import { measureStall } from "../stall.ts";
import { idleStall, stallTargetMs } from "./stall_rows.ts";
import { startTransportEnd } from "./transport_end.ts";

const pieceBytes = 1_048_576;
const rounds = 5;
/** The data node serves within this, in milliseconds. */
const startMs = 30_000;

/** Measures it with slices of so many bytes. */
export async function sliceRows(folder: string, sizeBytes: number): Promise<readonly BenchRow[]> {
  boundYoungGeneration(); // as each program does before it serves
  const world = await makeBenchWorld({ quick: true });
  const pair = new Pair("ours");
  const data = await startDataNode(join(folder, "data"), world, sizeBytes);
  try {
    await pair.begin(world.listener, world.dialler);
    const worker = await startWorkerSide(join(folder, "worker"), world.dialler);
    const ours: Speed[] = [], theirs: Speed[] = [], stalls: number[] = [];
    let wallMs = 0;
    for (let round = 0; round <= rounds; round++) {
      takeMemory(join(folder, "spare"), sizeBytes);
      const before = data.cpuUs() + ownCpuUs();
      const { wallMs: pulledMs, stallMs, value } = await measureStall(() => worker.pull(data.address));
      const cpuUs = data.cpuUs() + ownCpuUs() - before;
      const streamed = await pair.throughput(sizeBytes, 1);
      if (round === 0) continue; // the first round warms the process up
      const megabytes = sizeBytes / 1_000_000;
      ours.push({ perSecond: megabytes / value * 1_000, perCpuSecond: megabytes / cpuUs * 1_000_000 });
      theirs.push(streamed);
      stalls.push(stallMs);
      wallMs = pulledMs;
    }
    const idle = await idleStall(wallMs);
    await worker.stop();
    const size = `a slice of ${Math.round(sizeBytes / 1_048_576)} MiB`;
    return [
      ...speedRows("P12", `${size}, data node to worker's file, digest checked`, "MB/s", {
        ours,
        peer: "P7's stream, no file at either end",
        theirs,
        target: 0.35,
      }),
      makeRow({
        id: "P14.slice",
        what: `longest stall of the worker's event loop while ${size} arrives, the least of ${rounds}`,
        unit: "ms",
        value: Math.min(...stalls),
        op: "<=",
        target: stallTargetMs,
        beside: { name: "an idle loop", value: idle },
      }),
    ];
  } finally {
    pair.stop();
    data.stop();
    world.remove();
  }
}

/** Processor time of this process so far, in microseconds. */
function ownCpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

/** Microseconds of one of the kernel's ticks, in which it counts processor time (proc(5)). */
const tickUs = 10_000;

/** Processor time of another process so far, in microseconds. */
function cpuUsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  // The second field is the program's name, in parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [user, system] = [fields[11], fields[12]];
  return (Number(user) + Number(system)) * tickUs;
}

function writeFile(path: string, sizeBytes: number): void {
  const fd = openSync(path, "w");
  const piece = Buffer.alloc(pieceBytes, 7);
  for (let left = sizeBytes; left > 0; left -= pieceBytes) writeSync(fd, piece, 0, Math.min(left, pieceBytes));
  closeSync(fd);
}

/**
 * Has the system hold as much free memory as a file needs. The host of a virtual machine takes free memory back within seconds, and what
 * it has to give again makes a write ten times as expensive: the row would measure that.
 */
function takeMemory(path: string, sizeBytes: number): void {
  writeFile(path, sizeBytes);
  rmSync(path);
}

/** A data node with one slice. */
async function startDataNode(folder: string, { listener }: BenchWorld, sizeBytes: number) {
  const slices = join(folder, "slices");
  mkdirSync(slices, { recursive: true });
  writeFile(join(slices, "0"), sizeBytes);
  const script = fileURLToPath(new URL("./data_process.ts", import.meta.url));
  const { execPath } = process;
  const deno = "Deno" in globalThis;
  // Deno takes its own path for Node's and rewrites the arguments; spelt otherwise it does not.
  const program = deno ? `${dirname(execPath)}/./${basename(execPath)}` : execPath;
  const flags = deno ? ["run", "-A", "--quiet"] : ["--no-warnings"];
  const child = spawn(program, [...flags, script, slices, JSON.stringify(listener)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const address = await new Promise<string>((resolve, reject) => {
    const late = () => reject(new Error(`the data node was not ready within ${startMs} ms`));
    const timer = setTimeout(late, startMs);
    child.once("exit", (code) => reject(new Error(`the data node ended with ${code}`)));
    child.stdout.setEncoding("utf8").once("data", (line: string) => {
      clearTimeout(timer);
      resolve(line.trim());
    });
  }).catch((error: unknown) => {
    child.kill("SIGKILL");
    throw error;
  });
  return { address, cpuUs: () => cpuUsOf(child.pid!), stop: () => void child.kill("SIGKILL") };
}

/** A transport of this process, and a work directory to pull into. */
async function startWorkerSide(folder: string, files: EndFiles) {
  mkdirSync(folder, { mode: 0o700 });
  const end = await startTransportEnd(files, false);
  const { network } = makeJobNetworkHost(end, makePorts(() => {}));
  return {
    /** Milliseconds of a pull, from the request to the complete file. */
    async pull(address: string): Promise<number> {
      const dialled = await end.ask<DialAnswer>((replyTo) => ({
        type: "dial",
        id: "data",
        target: { address },
        replyTo,
      }));
      if (dialled.type === "dial.failed") throw new Error(dialled.refusal.message);
      const begun = performance.now();
      await Effect.runPromise(Effect.scoped(Effect.gen(function* () {
        const directory = yield* openWorkDirectory(folder);
        const stream = yield* openPull(network, dialled.peer, { dataset: "slices", index: 0 });
        if (!isFramed(stream.protocol)) return yield* Effect.die("not our protocol");
        yield* saveStream(stream, directory, "slice", jobLimits);
      })));
      return performance.now() - begun;
    },
    stop: () => end.stop(),
  };
}
