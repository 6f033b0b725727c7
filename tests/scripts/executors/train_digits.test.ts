/**
 * The training executor against a bridge of the test's own, which plays scheduler and aggregator for one trainer: the outer
 * update is the trainer's own difference, so the model that the test keeps must become the trainer's.
 */
import { Result } from "effect";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decodeTensors } from "../../../actors/learning/mod.ts";
import { BridgeClient } from "../../../actors/executor/bridge_client.ts";
import { parseDigits } from "../../../scripts/executors/digits.ts";
import { accuracy, applyUpdate, builtinModel, type Model } from "../../../scripts/executors/model.ts";
import { runTraining } from "../../../scripts/executors/training.ts";
import { fromJson, peersReferenceSchema, progressSchema, referenceSchema } from "../../../transport/protocols/mod.ts";
import type { JobSpec, TrainConfig } from "../../../transport/protocols/messages.ts";

const peer = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
const digits = readFileSync(new URL("../../fixtures/digits.csv", import.meta.url), "utf8").trim().split("\n");
const rowsPerSlice = 200;
const batchSize = 32;
const batchesPerRound = 20;
const deadlineMs = 20_000;

function jobSpec(changes: Partial<TrainConfig> = {}): JobSpec {
  const peers = { type: "peers", peers: [peer], strategy: { type: "All" }, resource: null } as const;
  const artifact = {
    type: "huggingface",
    repository: "builtin/mlp-64-32-10",
    revision: "seed-7",
    filenames: ["model.safetensors"],
    token: null,
  } as const;
  return {
    job_id: "f4633ad1-6b37-4597-85a6-4e58a2117f5a",
    executor: {
      class: "train",
      descriptor: { name: "diloco-transformer" },
      config: {
        model: { task: "image-classification", artifact, "input-names": ["pixel_values"] },
        data: { type: "scheduler", peer, dataset: "digits" },
        updates: peers,
        results: peers,
        optimizer: { "learning-rate": 0.01, betas: null, epsilon: null },
        batch_size: batchSize,
        ...changes,
      },
    },
  };
}

/** What the test's bridge does otherwise. */
interface BridgeChanges {
  readonly rounds?: number;
  readonly token?: string;
  /** Answers instead of the usual, where it gives something: a status and a body, or `"hang up"`. */
  readonly answer?: (route: string, count: number) => readonly [status: number, body: string] | "hang up" | undefined;
  /** Ends the event stream instead of pushing the update. */
  readonly endsReceive?: boolean;
}

interface TestBridge {
  readonly socketPath: string;
  readonly workDir: string;
  /** Routes and progress kinds as they came. */
  readonly heard: readonly string[];
  readonly model: () => Model;
  readonly modes: readonly number[];
}

async function withBridge(changes: BridgeChanges, use: (bridge: TestBridge) => Promise<void>): Promise<void> {
  const workDir = mkdtempSync(join(tmpdir(), "exec-"));
  mkdirSync(join(workDir, "artifacts"));
  mkdirSync(join(workDir, "incoming"));
  const world = new World(workDir, changes);
  const socketPath = join(workDir, "bridge.sock");
  world.server.listen(socketPath);
  await once(world.server, "listening");
  try {
    await use({ socketPath, workDir, heard: world.heard, model: () => world.model, modes: world.modes });
  } finally {
    world.server.closeAllConnections();
    world.server.close();
    rmSync(workDir, { recursive: true });
  }
}

class World {
  readonly heard: string[] = [];
  readonly modes: number[] = [];
  readonly server: Server = createServer((request, response) => void this.#serve(request, response));
  model = Result.getOrThrow(builtinModel("builtin/mlp-64-32-10", "seed-7"));
  readonly #workDir: string;
  readonly #changes: BridgeChanges;
  readonly #counts = new Map<string, number>();
  #slices = 0;
  #batches = 0;
  #rounds = 0;
  #events: ServerResponse | undefined;

  constructor(workDir: string, changes: BridgeChanges) {
    this.#workDir = workDir;
    this.#changes = changes;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const route = request.url ?? "";
    let text = "";
    for await (const piece of request as AsyncIterable<Uint8Array>) text += new TextDecoder().decode(piece);
    const { token, answer } = this.#changes;
    if (token !== undefined && request.headers.authorization !== `Bearer ${token}`) {
      return void response.writeHead(401).end("no token");
    }
    assert.is(request.headers["content-type"], "application/json");
    const body: unknown = JSON.parse(text);
    const count = this.#counts.get(route) ?? 0;
    this.#counts.set(route, count + 1);
    const instead = answer?.(route, count);
    if (instead === "hang up") return void response.destroy();
    if (instead !== undefined) return void response.writeHead(instead[0]).end(instead[1]);
    if (route === "/resources/receive") return this.#receive(body, response);
    const reply = route === "/resources/fetch"
      ? this.#fetch(body)
      : route === "/resources/send"
      ? this.#send(body)
      : this.#status(body);
    if (reply === undefined) return void response.writeHead(200, { "content-length": 0 }).end();
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(reply));
  }

  #fetch(body: unknown): unknown {
    Result.getOrThrow(fromJson(referenceSchema, body));
    const index = this.#slices++ % Math.floor(digits.length / rowsPerSlice);
    const rows = digits.slice(index * rowsPerSlice, (index + 1) * rowsPerSlice);
    writeFileSync(join(this.#workDir, `artifacts/${index}`), `${rows.join("\n")}\n`);
    return [{ path: `artifacts/${index}`, size: 0 }];
  }

  #receive(body: unknown, response: ServerResponse): void {
    Result.getOrThrow(fromJson(peersReferenceSchema, (body as { resource: unknown }).resource));
    this.heard.push("receive");
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.flushHeaders();
    this.#events = response;
  }

  /** The update, as the only trainer's aggregator would make it with learning rate 1 and no momentum. */
  #send(body: unknown): undefined {
    const { resource, path } = body as { resource: unknown; path: string };
    Result.getOrThrow(fromJson(peersReferenceSchema, resource));
    this.heard.push("send");
    this.modes.push(statSync(join(this.#workDir, path)).mode & 0o777);
    const bytes = readFileSync(join(this.#workDir, path));
    this.model = Result.getOrThrow(applyUpdate(this.model, Result.getOrThrow(decodeTensors(bytes))));
    if (this.#changes.endsReceive === true) return void this.#events?.end();
    writeFileSync(join(this.#workDir, "incoming", peer), bytes);
    const event = JSON.stringify({ path: `incoming/${peer}`, size: bytes.length, from_peer: peer });
    // A comment, and an event in two pieces: it is to be read by lines, not by pieces.
    this.#events?.write(`: keepalive\n\ndata: ${event.slice(0, 20)}`);
    setTimeout(() => this.#events?.write(`${event.slice(20)}\n\n`), 5);
  }

  #status(body: unknown): unknown {
    const progress = Result.getOrThrow(fromJson(progressSchema, body));
    if (typeof progress === "string") {
      this.heard.push(progress);
      if (progress === "update") return { type: "Ok" };
      this.#batches = 0;
      return { type: ++this.#rounds >= (this.#changes.rounds ?? 3) ? "Done" : "Continue" };
    }
    if ("metrics" in progress) {
      this.heard.push(`metrics ${progress.metrics.round} after ${this.#batches}`);
      assert.ok((progress.metrics.metrics["loss"] as number) > 0);
      return { type: "Ok" };
    }
    assert.is(progress.status.batch_size, batchSize);
    const due = ++this.#batches === batchesPerRound - 3;
    return due ? { type: "ScheduleUpdate", counter: 3 } : { type: "Continue" };
  }
}

// ── As a process ────────────────────────────────────────────────────────────────────────────────────────────────────

const program = fileURLToPath(new URL("../../../scripts/executors/train_digits.ts", import.meta.url));
const root = fileURLToPath(new URL("../../..", import.meta.url));
const onDeno = "Deno" in globalThis;

/** On Deno with the least that it needs: its own files, its directory, its socket. */
function start(
  { workDir, socketPath }: TestBridge,
  args: readonly string[],
  env: Record<string, string>,
): ChildProcess {
  const names = ["SOCKET_PATH", "WORK_DIR", "JOB_JSON", "BRIDGE_TOKEN"].join();
  const permissions = [
    "--no-prompt",
    `--allow-env=${names}`,
    `--allow-read=${workDir},${root}`,
    `--allow-write=${workDir}`,
    `--allow-net=unix:${socketPath}`,
  ];
  // Deno's own spawn would turn a command equal to its path into `deno run -A`.
  const deno = join(process.execPath, "..") + "/./deno";
  const [command, before] = onDeno ? [deno, ["run", ...permissions]] : [process.execPath, ["--no-warnings"]];
  return spawn(command, [...before, program, ...args], {
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "/", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
}

async function ended(child: ChildProcess): Promise<{ code: number | null; signal: string | null; stderr: string }> {
  let stderr = "";
  child.stderr?.on("data", (piece) => stderr += String(piece));
  child.stdout?.resume();
  const timer = setTimeout(() => child.kill("SIGKILL"), deadlineMs);
  const [code, signal] = await once(child, "close") as [number | null, string | null];
  clearTimeout(timer);
  return { code, signal, stderr };
}

const executor = suite("train_digits");

executor(
  "does its rounds in the wire's order, with arguments, and ends with 0",
  () =>
    withBridge({}, async (bridge) => {
      const args = ["--socket", bridge.socketPath, "--work-dir", bridge.workDir, "--job", JSON.stringify(jobSpec())];
      const { code, stderr } = await ended(start(bridge, args, {}));
      assert.is(stderr, "");
      assert.is(code, 0);
      const round = (n: number) => [`metrics ${n} after ${batchesPerRound}`, "send", "update", "update-received"];
      assert.equal(bridge.heard, ["receive", ...round(1), ...round(2), ...round(3)]);
      assert.equal(bridge.modes, [0o600, 0o600, 0o600]);
      assert.is(readdirSync(bridge.workDir).filter((name) => name.startsWith("update-")).length, 0);
      const rows = Result.getOrThrow(parseDigits(digits.join("\n")));
      assert.ok(accuracy(bridge.model(), rows) > 0.6, "what was sent makes the model better");
    }),
);

executor("takes the environment and its token too, and ends with 0 when told Done in the middle", () =>
  withBridge({
    token: "secret",
    answer: (route, count) => route === "/status/send" && count === 4 ? [200, '{"type":"Done"}'] : undefined,
  }, async (bridge) => {
    const env = { SOCKET_PATH: bridge.socketPath, WORK_DIR: bridge.workDir, JOB_JSON: JSON.stringify(jobSpec()) };
    const { code, stderr } = await ended(start(bridge, [], { ...env, BRIDGE_TOKEN: "secret" }));
    assert.is(stderr, "");
    assert.is(code, 0);
    const refused = await ended(start(bridge, [], env));
    assert.is(refused.code, 1);
    assert.match(refused.stderr, /BridgeFailed: Cannot receive: 401/);
  }));

executor("ends with 1 and one line where its job is missing or rubbish", () =>
  withBridge({}, async (bridge) => {
    const paths = ["--socket", bridge.socketPath, "--work-dir", bridge.workDir];
    const missing = await ended(start(bridge, paths, {}));
    assert.is(missing.code, 1);
    assert.is(missing.stderr, "JobNotGiven: Cannot start: JOB_JSON is not set: a worker starts executors\n");
    const rubbish = await ended(start(bridge, [...paths, "--job", '{"job_id":"7"}'], {}));
    assert.is(rubbish.code, 1);
    assert.match(
      rubbish.stderr,
      /^JobNotGiven: Cannot start: JOB_JSON is no job: Cannot read message at job_id: [^\n]*\n$/,
    );
  }));

executor("ends at SIGTERM", () =>
  withBridge({ rounds: 1_000_000 }, async (bridge) => {
    const args = ["--socket", bridge.socketPath, "--work-dir", bridge.workDir, "--job", JSON.stringify(jobSpec())];
    const child = start(bridge, args, {});
    const end = ended(child);
    const deadline = Date.now() + deadlineMs;
    while (!bridge.heard.includes("update-received") && Date.now() < deadline) {
      await new Promise((r) => setTimeout(r, 20));
    }
    child.kill("SIGTERM");
    // Deno tells a parent of a child's code 143 as if the signal itself had ended it.
    const { code, signal } = await end;
    assert.ok(code === 143 || (onDeno && signal === "SIGTERM"), `${code} ${signal}`);
  }));
executor.run();

// ── In this process ─────────────────────────────────────────────────────────────────────────────────────────────────

const training = suite("runTraining()");

async function failure(changes: BridgeChanges, spec: JobSpec): Promise<{ message: string; heard: readonly string[] }> {
  let outcome = { message: "", heard: [] as readonly string[] };
  await withBridge(changes, async ({ socketPath, workDir, heard }) => {
    const bridge = new BridgeClient({ socketPath, token: undefined, retryMs: 5 });
    const ended = runTraining({ bridge, spec, workDir, report: () => {} }).then(() => "", (error) => String(error));
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<string>((resolve) => timer = setTimeout(resolve, deadlineMs, "did not end"));
    const message = await Promise.race([ended, late]);
    clearTimeout(timer);
    bridge.close();
    outcome = { message, heard };
  });
  return outcome;
}

training("outlives answers that pass: 500, 503, a connection that breaks", async () => {
  const passing = [[500, "{}"], [503, "{}"], "hang up", [500, "{}"]] as const;
  for (const route of ["/resources/fetch", "/status/send", "/resources/send"]) {
    const { message } = await failure(
      { rounds: 1, answer: (at, count) => at === route ? passing[count] : undefined },
      jobSpec(),
    );
    assert.is(message, "", route);
  }
});

training("gives up after five attempts, and after one where it is refused", async () => {
  for (const [status, attempts] of [[500, 5], [400, 1]] as const) {
    let asked = 0;
    const answer = (route: string) => {
      if (route !== "/resources/fetch") return undefined;
      asked++;
      return [status, '{"error":"x","detail":"said the bridge"}'] as const;
    };
    const { message } = await failure({ answer }, jobSpec());
    assert.match(message, /BridgeFailed: Cannot post \/resources\/fetch: \d+ .*said the bridge/);
    assert.is(asked, attempts);
  }
});

const peers = { type: "peers", peers: [peer], strategy: { type: "All" }, resource: null } as const;
const { model } = (jobSpec().executor as { config: TrainConfig }).config;
const aggregate: JobSpec = {
  job_id: jobSpec().job_id,
  executor: {
    class: "aggregate",
    descriptor: { name: "x" },
    config: { updates: peers, results: peers, optimizer: { "learning-rate": 1, momentum: 0 } },
  },
};
const status = (body: string): BridgeChanges => ({
  answer: (route) => route === "/status/send" ? [200, body] : undefined,
});
const fetched = (body: string): BridgeChanges => ({
  answer: (route) => route === "/resources/fetch" ? [200, body] : undefined,
});
const failures: [name: string, changes: BridgeChanges, spec: JobSpec, message: RegExp][] = [
  ["a job of another class", {}, aggregate, /class aggregate/],
  ["batches of none", {}, jobSpec({ batch_size: 0 }), /batches of 0/],
  [
    "a model from a URI",
    {},
    jobSpec({ model: { ...model, artifact: { type: "uri", value: "http://x/" } } }),
    /uri reference/,
  ],
  [
    "a model that is not built in",
    {},
    jobSpec({ model: { ...model, artifact: { ...model.artifact, repository: "org/model" } as never } }),
    /Cannot build model "org\/model"/,
  ],
  ["a scheduler that cannot place it", status('{"type":"Error"}'), jobSpec(), /cannot place/],
  ["an answer that is none", status('{"type":"Perhaps"}'), jobSpec(), /unknown variant "Perhaps"/],
  ["an answer that is not JSON", status("<html>"), jobSpec(), /BridgeFailed/],
  ["a fetch that names no file", fetched("[]"), jobSpec(), /named no file/],
  ["a slice that is not there", fetched('[{"path":"artifacts/none"}]'), jobSpec(), /ENOENT/],
  [
    "an event stream that ends",
    { endsReceive: true },
    jobSpec(),
    /Cannot receive: the (bridge ended|connection closed)/,
  ],
  [
    "a receive that is refused",
    { answer: (route) => route === "/resources/receive" ? [500, ""] : undefined },
    jobSpec(),
    /Cannot receive: 500/,
  ],
];
for (const [name, changes, spec, message] of failures) {
  training(
    `fails with its reason at ${name}`,
    async () => assert.match((await failure(changes, spec)).message, message),
  );
}

training(
  "bug: each slice stayed in the work directory",
  () =>
    withBridge({ rounds: 1 }, async ({ socketPath, workDir }) => {
      const bridge = new BridgeClient({ socketPath, token: undefined });
      await runTraining({ bridge, spec: jobSpec(), workDir, report: () => {} });
      bridge.close();
      assert.equal(readdirSync(join(workDir, "artifacts")), []);
    }),
);

training("bug: a job that began after nine of ten rounds began the learning-rate schedule again", async () => {
  const start = Result.getOrThrow(builtinModel("builtin/mlp-64-32-10", "seed-7"));
  const scheduler = { type: "linear-with-warmup", warmup_steps: 0, training_steps: 10 * batchesPerRound } as const;
  /** How far the first round moves the parameters, at most. */
  const moved = async (changes: Partial<TrainConfig>) => {
    let farthest = 0;
    await withBridge({ rounds: 1 }, async ({ socketPath, workDir, model }) => {
      const bridge = new BridgeClient({ socketPath, token: undefined });
      const spec = { ...jobSpec(changes), training: { id: "t", run: 1, round: 9, rounds: 10, samples: 1 } };
      await runTraining({ bridge, spec, workDir, report: () => {} });
      bridge.close();
      for (const [name, { values }] of model().parameters) {
        const before = start.parameters.get(name)?.values ?? [];
        for (const [i, value] of values.entries()) farthest = Math.max(farthest, Math.abs(value - (before[i] ?? NaN)));
      }
    });
    return farthest;
  };
  const [last, constant] = [await moved({ scheduler }), await moved({})];
  // A tenth of the rate at the begin of the last round, falling to zero. A first step of Adam is as long as the rate.
  assert.ok(last > 0.0005 && last < constant / 5, `${last} of ${constant}`);
});

training("opens its receive before it sends anything", async () => {
  const { heard, message } = await failure({ rounds: 1 }, jobSpec());
  assert.is(message, "");
  assert.is(heard[0], "receive");
});
training.run();
