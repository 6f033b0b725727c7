/**
 * The part `cell` of the performance table: the cost of confinement.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { closeSync, fstatSync, mkdirSync, mkdtempSync, openSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { Agent, createServer, request as httpRequest } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Effect } from "effect";
import { cellDefault } from "../../../actors/config/cell_config.ts";
import { openBridge } from "../../../actors/job/bridge/bridge.ts";
import { makeBridgeToken } from "../../../actors/job/bridge/token.ts";
import { webUnder } from "../../../actors/job/bridge/web_request.ts";
import { fetchDefault } from "../../../actors/config/cell_config.ts";
import { assignCell } from "../../../actors/job/cell/assign.ts";
import { cellCommand } from "../../../actors/job/cell/command_line.ts";
import { jobCell } from "../../../actors/job/cell/bounds.ts";
import { findCell } from "../../../actors/job/cell/find_cell.ts";
import { jobLimits } from "../../../actors/job/limits.ts";
import type { JobNetwork } from "../../../actors/job/network.ts";
import { openWorkDirectory } from "../../../actors/files/contained_files.ts";
import { startExecutor } from "../../../actors/job/process.ts";
import { makeWorkDirectory } from "../../../actors/job/work_directory.ts";
import { makePorts } from "../../program/ports.ts";
import { type BenchRow, makeRow } from "../row.ts";
import { sliceRows } from "./slice_row.ts";
import { stallRows } from "./stall_rows.ts";

interface Sizes {
  readonly starts: number;
  readonly opens: number;
  readonly requests: number;
  readonly sliceBytes: number;
  readonly largeBytes: number;
}
const full: Sizes = {
  starts: 25,
  opens: 20_000,
  requests: 4_000,
  sliceBytes: 256 * 1_048_576,
  largeBytes: 1_073_741_824,
};
const short: Sizes = { starts: 2, opens: 200, requests: 50, sliceBytes: 1_048_576, largeBytes: 1_048_576 };

const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

/** Measures all of it on this runtime. */
export async function measure({ quick }: { readonly quick: boolean }): Promise<readonly BenchRow[]> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "hypha-bench-")));
  const sizes = quick ? short : full;
  try {
    return [
      await startRow(folder, sizes),
      await openRow(folder, sizes),
      await bridgeRow(folder, sizes),
      ...await sliceRows(folder, sizes.sliceBytes),
      ...await stallRows(folder, sizes.largeBytes),
    ];
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** From asking for an executor that ends at once to its end; directory, user and control groups are made outside. */
async function startRow(folder: string, { starts }: Sizes): Promise<BenchRow> {
  const ports = makePorts(() => {});
  const workDir = join(folder, "work");
  const config = jobCell(cellDefault, { memory: 4, storage: 2 });
  const cell = await Effect.runPromise(findCell({ ports, config, workDir }));
  const sink = { line: () => {}, suppressed: () => {} };
  const command = { file: "/usr/bin/true", args: [], env: {} };
  const inCell: number[] = [], bare: number[] = [];
  for (let round = 0; round < starts; round++) {
    inCell.push(
      await Effect.runPromise(Effect.scoped(Effect.gen(function* () {
        const uuid = ports.uuid();
        const assigned = yield* assignCell({ cell, config }, `hypha-${uuid}`);
        const directory = yield* makeWorkDirectory(workDir, uuid, assigned);
        const confined = cellCommand(cell, config, { ...assigned, directory: directory.path }, command);
        const begun = performance.now();
        const executor = yield* startExecutor(confined, { sink, now: ports.now, graceMs: 100 });
        yield* executor.exited;
        return performance.now() - begun;
      }))),
    );
    bare.push(await runBare(command.file));
  }
  await ports.dispose();
  return makeRow({
    id: "cell.start",
    what: `a cell of level ${cell.level} from start to end, more than a bare process takes`,
    unit: "ms",
    value: median(inCell) - median(bare),
    op: "<=",
    target: 40,
  });
}

function runBare(file: string): Promise<number> {
  const begun = performance.now();
  return new Promise((resolve, reject) => {
    const child = spawn(file, [], { stdio: "ignore", detached: true });
    child.once("error", reject).once("close", () => resolve(performance.now() - begun));
  });
}

/** A file three directories down: opened, looked at and closed. */
async function openRow(folder: string, { opens }: Sizes): Promise<BenchRow> {
  const work = join(folder, "walk");
  mkdirSync(join(work, "a/b"), { recursive: true });
  writeFileSync(join(work, "a/b/file"), "x");
  const each = (begun: number) => ((performance.now() - begun) * 1_000) / opens;
  const plain = () => {
    const fd = openSync(join(work, "a/b/file"), "r");
    fstatSync(fd);
    closeSync(fd);
  };
  const [walked, opened] = await Effect.runPromise(Effect.scoped(Effect.map(openWorkDirectory(work), (directory) => {
    const open = Effect.scoped(directory.openForReading("a/b/file"));
    const walkAll = Effect.gen(function* () {
      for (let index = 0; index < opens; index++) yield* open;
    });
    const round = () => {
      const begun = performance.now();
      Effect.runSync(walkAll);
      const walked = each(begun), again = performance.now();
      for (let index = 0; index < opens; index++) plain();
      return [walked, each(again)] as const;
    };
    round();
    const rounds = [0, 1, 2, 3, 4].map(round);
    return [median(rounds.map(([ours]) => ours)), median(rounds.map(([, theirs]) => theirs))];
  })));
  return makeRow({
    id: "cell.open",
    what: "a file two directories down, walked to through descriptors",
    unit: "µs",
    value: walked ?? NaN,
    peer: { name: "open, fstat, close by its path", value: opened ?? NaN },
    op: "<=",
    target: 4,
  });
}

const network: JobNetwork = {
  request: () => Effect.succeed({ type: "Ok" } as never), // the bench asks for progress only, whose answer this is
  openStream: () => Effect.never,
  receive: () => Effect.succeed({ next: Effect.never, allow: () => {}, keep: () => {}, forget: () => {} }),
};

/** Requests with a small JSON body, eight at once, on connections that stay. */
async function bridgeRow(folder: string, { requests }: Sizes): Promise<BenchRow> {
  const work = join(folder, "bridge");
  mkdirSync(work, { mode: 0o700 });
  const plainSocket = join(folder, "plain.sock");
  const body = JSON.stringify({ type: "uri", value: "http://files.test/x" });
  const plain = createServer((asked, response) => {
    let text = "";
    asked.on("data", (piece) => text += piece).on("end", () => {
      JSON.parse(text);
      response.writeHead(403, { "content-type": "application/json" }).end('{"error":"job-scope","detail":"…"}');
    });
  });
  await new Promise<void>((resolve) => plain.listen(plainSocket, () => resolve()));
  const rates = await Effect.runPromise(Effect.scoped(Effect.gen(function* () {
    const directory = yield* openWorkDirectory(work);
    const scope = { fetches: () => false, sendsTo: () => false, receivesFrom: [] };
    const bridge = yield* openBridge({
      directory,
      jobId: "f4633ad1-6b37-4597-85a6-4e58a2117f5a",
      scheduler: "no-scheduler",
      scope,
      network,
      report: () => {},
      now: Date.now,
      random: Math.random,
      web: webUnder(fetchDefault),
      count: { round: 1, samples: 0 },
      limits: jobLimits,
    }, makeBridgeToken("optional"));
    const measured: [number, number][] = [];
    for (let round = 0; round < 6; round++) {
      const ours = yield* Effect.promise(() => perSecond(bridge.socketPath, body, requests));
      const theirs = yield* Effect.promise(() => perSecond(plainSocket, body, requests));
      if (round > 0) measured.push([ours, theirs]);
    }
    return measured;
  })));
  plain.close();
  return makeRow({
    id: "cell.bridge",
    what: "requests at the job bridge, eight at once",
    unit: "/s",
    value: median(rates.map(([ours]) => ours)),
    peer: { name: "plain node:http on a Unix socket", value: median(rates.map(([, theirs]) => theirs)) },
    op: ">=",
    target: 0.7,
  });
}

async function perSecond(socketPath: string, body: string, requests: number): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: 8 });
  const one = () =>
    new Promise<void>((resolve, reject) => {
      const headers = { "content-type": "application/json", "content-length": String(body.length) };
      const asked = httpRequest(
        { socketPath, path: "/resources/fetch", method: "POST", agent, headers },
        (response) => {
          response.resume().once("end", resolve);
        },
      );
      asked.once("error", reject);
      asked.end(body);
    });
  let left = requests;
  const begun = performance.now();
  await Promise.all(Array.from({ length: 8 }, async () => {
    while (left-- > 0) await one();
  }));
  const seconds = (performance.now() - begun) / 1_000;
  agent.destroy();
  return requests / seconds;
}
