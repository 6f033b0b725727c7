// A job's machine with everything real but the network: directory, bridge, process.
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AnyEventObject, assign, createActor, fromCallback, setup } from "xstate";
import { jobMachine } from "../../actors/job/job.ts";
import type { parameterServerMachine } from "../../actors/job/parameter_server.ts";
import { identifyProcess } from "../../actors/job/process_identity.ts";
import type { ReadableFile } from "../../actors/files/contained_files.ts";
import { makeWorkDirectory } from "../../actors/job/work_directory.ts";
import { fromEffect } from "../../actors/runtime/effect_actor.ts";
import type { Ports, Report } from "../../actors/runtime/ports.ts";
import { fromScoped } from "../../actors/runtime/scoped_actor.ts";
import type { AggregatorInput, JobEnded, JobInput, JobOutcome } from "../../actors/job/messages.ts";
import type { ExecutorConfig } from "../../actors/config/config.ts";
import type { JobSpec } from "../../transport/protocols/messages.ts";
import { cellDefault } from "../../actors/config/cell_config.ts";
import { jobCell } from "../../actors/job/cell/bounds.ts";
import type { Cell } from "../../actors/job/cell/cell.ts";
import { decodePullHeader } from "../../transport/protocols/mod.ts";
import {
  eventually,
  fakeNetwork,
  readAll,
  realPorts,
  runOf,
  streamPair,
  temporary,
  writeAll,
} from "../support/job_world.ts";
import { needing } from "../support/prerequisites.ts";
import { peersOf, trainSpec } from "../support/train_spec.ts";

const node = resolve(dirname(fileURLToPath(import.meta.url)), "../../node_modules/.bin/node");
const scheduler = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
const aggregator = "12D3KooWCofsHFCiPAZDDo4ZcRkzUZEkhuz3awyU9iHkhvf6LQPH";
const taskId = "11111111-1111-4111-8111-111111111111", jobId = "22222222-2222-4222-8222-222222222222";
const spec = trainSpec({ job: jobId, scheduler, aggregator });
const aggregation: JobSpec = {
  job_id: jobId,
  executor: {
    class: "aggregate",
    descriptor: { name: "parameter-server" },
    config: {
      updates: peersOf(scheduler),
      results: peersOf(scheduler),
      optimizer: { "learning-rate": 1, momentum: 0 },
    },
  },
};

const place = temporary();
const test = suite("jobMachine");
const withSleep = needing(test, "sleep");
test.after(() => place.remove());

/** Starts a job under a parent that keeps what it says. */
function start(executor: Partial<ExecutorConfig>, over: Partial<JobInput> = {}, logic = jobMachine) {
  const ports = realPorts();
  const input: JobInput = {
    ports,
    taskId,
    spec,
    scheduler,
    executor: { class: "train", name: "test", runtime: "process", cmd: "/bin/sh", args: [], ...executor },
    network: fakeNetwork({}),
    workDir: join(place.path, "work"),
    ...over,
    limits: { graceMs: 400, idleMs: 3_000, ...over.limits },
  };
  const said: AnyEventObject[] = [];
  let beforeEnd: readonly Report[] = [];
  const keep = (event: AnyEventObject) => {
    if (event.type === "job.ended") beforeEnd = [...ports.reports];
    said.push(event);
  };
  const parent = setup({ types: { context: {} as { output: unknown } }, actors: { job: logic } }).createMachine({
    context: { output: undefined },
    invoke: {
      id: "job",
      src: "job",
      input: ({ self }) => ({ ...input, parent: self }),
      onDone: { actions: assign({ output: ({ event }) => event.output }) },
    },
    on: { "job.*": { actions: ({ event }) => keep(event) } },
  });
  const actor = createActor(parent).start();
  const job = () => actor.getSnapshot().children["job"] as { send(event: AnyEventObject): void } | undefined;
  return {
    reports: ports.reports,
    reportedBeforeEnd: () => beforeEnd,
    said,
    stop: () => actor.stop(),
    send: (event: AnyEventObject) => job()?.send(event),
    output: () => ports.reports.filter(({ event }) => event === "job.output").map(({ message }) => message),
    started: () => eventually("the start", () => said.some(({ type }) => type === "job.started")),
    pid: () => said.find(({ type }) => type === "job.started")?.["pid"] as number,
    ended: async (withinMs = 30_000): Promise<JobOutcome> => {
      await eventually("the end", () => said.some(({ type }) => type === "job.ended"), withinMs);
      const ended = said.filter(({ type }) => type === "job.ended") as unknown as JobEnded[];
      assert.is(ended.length, 1, "ended is said once");
      assert.equal([ended[0]?.task_id, ended[0]?.job_id], [taskId, jobId]);
      assert.equal(actor.getSnapshot().context.output, ended[0]);
      return ended[0]?.outcome as JobOutcome;
    },
  };
}
const shell = (script: string): Partial<ExecutorConfig> => ({ args: ["-c", script] });
const left = () => readdirSync(join(place.path, "work"));
const reasonOf = (outcome: JobOutcome) => outcome.type === "finished" ? "" : outcome.reason;

needing(test, "wc")("an executor that exits 0 has finished: its directory, socket and process are gone", async () => {
  const job = start(
    shell('test -S "$SOCKET_PATH" && test -d "$WORK_DIR" && echo "$JOB_JSON"; echo "$BRIDGE_TOKEN" | wc -c'),
  );
  assert.equal(await job.ended(), { type: "finished" });
  assert.equal(JSON.parse(job.output()[0] ?? ""), spec);
  assert.equal(Number(job.output()[1]), 44, "a token of 43 characters");
  assert.equal(job.said.map(({ type }) => type), ["job.started", "job.ended"]);
  assert.is(identifyProcess(job.pid()), undefined);
  assert.equal(left(), []);
});

test("one that crashes has failed, with its code or signal and the end of its output", async () => {
  const crash = start(shell("echo before; echo 'no such model' >&2; exit 42"));
  const reason = reasonOf(await crash.ended());
  assert.match(reason, /^executor exited with code 42; its last output:\n/);
  assert.match(reason, /no such model/);
  const killed = start(shell("yes 'a long story' | head -c 20000; kill -KILL $$"));
  const story = reasonOf(await killed.ended());
  assert.match(story, /^executor was ended by SIGKILL/);
  assert.ok(new TextEncoder().encode(story).length <= 4_096);
  assert.equal(left(), []);
});

test("one that is missing has failed and says so", async () => {
  const missing = start({ cmd: "no-such-executor" });
  const outcome = await missing.ended();
  assert.is(outcome.type, "failed");
  assert.match(reasonOf(outcome), /"no-such-executor": no such program in PATH=/);
  assert.match(reasonOf(await start({ cmd: undefined }).ended()), /no such program/);
  assert.equal(left(), []);
});

withSleep("one that hangs and ignores SIGTERM is cancelled all the same, with what it started", async () => {
  const job = start(shell("trap '' TERM; (trap '' TERM; sleep 60) & echo $!; while :; do sleep 0.1; done"));
  await eventually("its output", () => job.output().length === 1);
  const grandchild = Number(job.output()[0]);
  const from = performance.now();
  job.send({ type: "job.cancel", reason: "lease lapsed" });
  job.send({ type: "job.cancel", reason: "again" });
  assert.equal(await job.ended(), { type: "cancelled", reason: "lease lapsed" });
  const tookMs = performance.now() - from;
  assert.ok(tookMs >= 380 && tookMs < 4_000, `${tookMs} ms`);
  await eventually("all gone", () => [job.pid(), grandchild].every((pid) => identifyProcess(pid) === undefined));
  assert.equal(left(), []);
});

withSleep("a job can be cancelled at any moment", async () => {
  for (const afterMs of [0, 1, 3, 6, 12, 25]) {
    const job = start(shell("sleep 60"));
    if (afterMs > 0) await new Promise((done) => setTimeout(done, afterMs));
    job.send({ type: "job.cancel", reason: "changed my mind" });
    assert.equal(await job.ended(), { type: "cancelled", reason: "changed my mind" });
    const pid = job.pid();
    if (pid !== undefined) assert.is(identifyProcess(pid), undefined);
  }
  await eventually("nothing left", () => left().length === 0);
});

// Deno takes a command that equals its own path for Node, and would add `-A` to the arguments.
test("an executor under the worker's own runtime gets the arguments of its configuration, nothing more", async () => {
  const script = join(place.path, "own.mjs");
  writeFileSync(
    script,
    `const net = globalThis.Deno?.permissions.querySync({ name: "net" }).state ?? "not Deno";
     console.log(net + " " + (globalThis.Deno?.args ?? process.argv.slice(2)).join(" "));`,
  );
  const deno = "Deno" in globalThis;
  const args = [...(deno ? ["run", "--no-prompt", "--no-config"] : []), script, process.execPath];
  const job = start({ cmd: process.execPath, args });
  assert.equal(await job.ended(), { type: "finished" }, job.output().join());
  const spelled = join(dirname(process.execPath), ".").concat("/./", process.execPath.split("/").at(-1) ?? "");
  assert.equal(job.output(), [`${deno ? "prompt" : "not Deno"} ${spelled}`]);
});

test("a work directory too deep to connect to is told", async () => {
  const job = start(shell("exit 0"), { workDir: join(place.path, "w".repeat(100)) });
  assert.equal(await job.ended(), { type: "finished" });
  assert.ok(job.reports.some(({ event }) => event === "job.socket.long"));
});

test("a worker's directory that cannot be made fails the job", async () => {
  writeFileSync(join(place.path, "file"), "");
  const outcome = await start(shell("exit 0"), { workDir: join(place.path, "file") }).ended();
  assert.is(outcome.type, "failed");
});

withSleep("stopping the actor ends everything without asking", async () => {
  const job = start(shell("sleep 60"));
  await job.started();
  job.stop();
  await eventually("its end", () => identifyProcess(job.pid()) === undefined && left().length === 0);
});

test("the parameter server runs in the job's place, hears of updates, and its output is the outcome", async () => {
  const seen: { input?: AggregatorInput; events: AnyEventObject[] } = { events: [] };
  const server = setup({ types: { input: {} as AggregatorInput, output: {} as JobOutcome } }).createMachine({
    context: ({ input }) => {
      seen.input = input;
      return {};
    },
    initial: "on",
    on: { "job.updated": { target: ".off", actions: ({ event }) => void seen.events.push(event) } },
    states: { on: {}, off: { after: { 20: "end" } }, end: { type: "final" } },
    output: { type: "finished" },
  });
  const logic = jobMachine.provide({ actors: { aggregator: server as unknown as typeof parameterServerMachine } });
  const cell: Cell = { level: "bare", user: "own", cgroups: [], disk: "measured", chain: "none", notes: [] };
  const config = jobCell(cellDefault, { memory: 1, storage: 3 });
  const over = { spec: aggregation, cell: { cell, config } };
  const job = start({ class: "aggregate", runtime: "parameter-server" }, over, logic);
  await job.started();
  assert.is(job.pid(), undefined);
  assert.is(seen.input?.diskBytes, 3e9, "the storage of its lease");
  assert.ok(existsSync(seen.input?.directory.path ?? ""));
  job.send({ type: "job.updated", spec: aggregation });
  assert.equal(await job.ended(), { type: "finished" });
  assert.equal(seen.events.length, 1);
  assert.equal(left(), []);
  const cancelled = start({ runtime: "parameter-server" }, { spec: aggregation }, logic);
  await cancelled.started();
  cancelled.send({ type: "job.cancel", reason: "drain" });
  assert.equal(await cancelled.ended(), { type: "cancelled", reason: "drain" });
});

test("bug: a job that was dispatched again while its directory was made ran with its first trainers", async () => {
  const specs: JobSpec[] = [];
  const server = setup({ types: { input: {} as AggregatorInput, output: {} as JobOutcome } }).createMachine({
    context: ({ input }) => {
      specs.push(input.spec);
      return {};
    },
    initial: "end",
    states: { end: { type: "final" } },
    output: { type: "finished" },
  });
  // As where a tool mounts it.
  const directory = fromScoped(
    "directory",
    ({ ports, job }: { readonly ports: Ports; readonly job: JobInput }) =>
      Effect.gen(function* () {
        yield* Effect.sleep(20);
        return { directory: yield* makeWorkDirectory(job.workDir, ports.uuid(), undefined), cell: undefined };
      }),
  );
  const aggregator = server as unknown as typeof parameterServerMachine;
  const logic = jobMachine.provide({ actors: { aggregator, directory } });
  const job = start({ class: "aggregate", runtime: "parameter-server" }, { spec: aggregation }, logic);
  const spec = { ...aggregation, aggregation: { late: ["b"] } };
  job.send({ type: "job.updated", spec });
  assert.equal(await job.ended(), { type: "finished" });
  assert.equal(specs, [spec]);
});

test("a parameter server that dies, or gets a job of another class, fails the job", async () => {
  const dying = fromCallback<AnyEventObject, AggregatorInput>(() => {
    throw new Error("out of memory");
  }) as unknown as typeof parameterServerMachine;
  const logic = jobMachine.provide({ actors: { aggregator: dying } });
  assert.match(reasonOf(await start({ runtime: "parameter-server" }, {}, logic).ended()), /out of memory/);
  assert.match(reasonOf(await start({ runtime: "parameter-server" }).ended()), /of another class/);
  assert.equal(left(), []);
});

// A whole job, as a training executor would do it: fetch a slice, report, receive, send, and end right after the send.
const program = `
  const http = require("node:http"), fs = require("node:fs");
  const { SOCKET_PATH: socketPath, WORK_DIR, JOB_JSON, BRIDGE_TOKEN } = process.env;
  const { config } = JSON.parse(JOB_JSON).executor;
  const ask = (path, value, onData) => new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", authorization: "Bearer " + BRIDGE_TOKEN };
    const request = http.request({ socketPath, path, method: "POST", headers }, (response) => {
      let text = "";
      response.on("data", (piece) => { text += piece; if (onData?.(text)) { request.destroy(); resolve(text); } });
      response.on("end", () => response.statusCode === 200 ? resolve(text) : reject(new Error(text)));
    });
    request.on("error", reject);
    request.end(JSON.stringify(value));
  });
  (async () => {
    const [{ path }] = JSON.parse(await ask("/resources/fetch", config.data));
    const slice = fs.readFileSync(WORK_DIR + "/" + path, "utf8");
    const update = JSON.parse(await ask("/status/send", { status: { batch_size: config.batch_size } }));
    console.log("slice " + slice + ", counter " + update.counter);
    const receiving = ask("/resources/receive", { resource: config.results }, (text) => text.includes("data:") && text.endsWith("\\n\\n"));
    await new Promise((wait) => setTimeout(wait, 50));
    fs.writeFileSync(WORK_DIR + "/gradient", "gradient of " + slice);
    await ask("/resources/send", { resource: config.updates, path: "gradient" });
    const event = JSON.parse((await receiving).split("data: ")[1]);
    console.log("received " + fs.readFileSync(WORK_DIR + "/" + event.path, "utf8"));
    fs.writeFileSync(WORK_DIR + "/last", "l".repeat(1000000));
    await ask("/resources/send", { resource: config.updates, path: "last" });
    process.exit(0);
  })().catch((error) => { console.error(error); process.exit(1); });`;

needing(test, "node")("a whole job over its bridge: what it sends last arrives whole though it has ended", async () => {
  const sent: string[] = [];
  const network = fakeNetwork({
    request: (to, protocol, message) => {
      assert.is(to, scheduler);
      return Effect.succeed(
        protocol === "/hypha-api/0.0.1"
          ? { Data: { Success: { data_provider: scheduler, index: 7 } } }
          : (assert.equal(message, { job_id: jobId, progress: { status: { batch_size: 2 } } }),
            { type: "ScheduleUpdate", counter: 3 }),
      );
    },
    openStream: (to, protocol) =>
      Effect.sync(() => {
        const { near, far } = streamPair({ near: "me", far: to }, protocol);
        Effect.runFork(protocol === "/hypha-tensor-stream/pull" ? servePull(far) : takePush(far));
        return near;
      }),
  });
  const servePull = (far: ReturnType<typeof streamPair>["far"]) =>
    Effect.gen(function* () {
      const chunk = yield* far.read;
      const header = chunk.type === "bytes" ? decodePullHeader(chunk.bytes) : undefined;
      assert.equal(header?._tag === "Success" && header.success?.header, { dataset: "digits", index: 7 });
      yield* writeAll(far, "seven");
    });
  const takePush = (far: ReturnType<typeof streamPair>["far"]) =>
    Effect.gen(function* () {
      // The last one is read slowly: the executor has exited long before.
      if (sent.length === 1) yield* Effect.sleep(300);
      const { text, outcome } = yield* readAll(far);
      sent.push(`${outcome} ${text.length > 100 ? text.length : text}`);
      yield* far.end;
      if (sent.length > 1) return;
      const answer = streamPair({ near: "me", far: aggregator });
      network.receives[0]?.push(answer.near);
      yield* writeAll(answer.far, "outer update");
    });
  const job = start({ cmd: node, args: ["-e", program] }, { network });
  const outcome = await job.ended();
  assert.equal(outcome, { type: "finished" }, JSON.stringify([outcome, job.reports]));
  assert.equal(job.output(), ["slice seven, counter 3", "received outer update"]);
  assert.equal(sent, ["whole gradient of seven", "whole 1000000"]);
  assert.equal(left(), []);
});

// Sends a file, and ends.
const sender = `
  const http = require("node:http"), fs = require("node:fs");
  const { SOCKET_PATH: socketPath, WORK_DIR, JOB_JSON, BRIDGE_TOKEN } = process.env;
  fs.writeFileSync(WORK_DIR + "/last", "l".repeat(4000000));
  const headers = { "content-type": "application/json", authorization: "Bearer " + BRIDGE_TOKEN };
  const request = http.request({ socketPath, path: "/resources/send", method: "POST", headers }, (response) => {
    process.exit(response.statusCode === 200 ? 0 : 1);
  });
  request.end(JSON.stringify({ resource: JSON.parse(JOB_JSON).executor.config.updates, path: "last" }));`;

/** Its update goes to the training's present aggregator. */
const ofTraining: JobSpec = { ...spec, training: { id: "t-1", run: 3, round: 4, rounds: 9, samples: 0 } };

/** A network whose peer reads a piece in each of so many milliseconds. */
function slowNetwork(everyMs: number) {
  const got: string[] = [];
  const network = fakeNetwork({
    openStream: (to, protocol) =>
      Effect.sync(() => {
        const { near, far } = streamPair({ near: "me", far: to }, protocol);
        Effect.runFork(
          Effect.gen(function* () {
            let sizeBytes = 0;
            for (;;) {
              const chunk = yield* far.read;
              if (chunk.type === "end") return void got.push(`${chunk.outcome} ${sizeBytes}`);
              sizeBytes += chunk.bytes.length;
              yield* Effect.sleep(everyMs);
            }
          }).pipe(Effect.ensuring(Effect.ignore(far.end))),
        );
        return near;
      }),
  });
  return { network, got };
}

needing(test, "node")(
  "bug: a send that still ran 60 s after its executor's end was cut, and nothing said so",
  async () => {
    const { network, got } = slowNetwork(250);
    const job = start({ cmd: node, args: ["-e", sender] }, { network, limits: { idleMs: 2_000 } });
    assert.equal(await job.ended(), { type: "finished" });
    await eventually("the file", () => got.length === 1);
    assert.equal(got, ["whole 4000000"]);
    assert.equal(job.reports.filter(({ event }) => event === "job.send.failed"), []);
  },
);

needing(test, "node")(
  "bug: a job whose update its aggregator refused each time waited for it until its lease ended",
  async () => {
    let tries = 0;
    const network = fakeNetwork({
      ours: true,
      openStream: (to, protocol) =>
        Effect.sync(() => {
          tries += 1;
          const { near, far } = streamPair({ near: "me", far: to }, protocol);
          Effect.runFork(Effect.andThen(far.read, far.abort("no place")));
          return near;
        }),
    });
    const given = { network, spec: ofTraining, limits: { idleMs: 7_000 } };
    const job = start({ cmd: node, args: ["-e", sender] }, given);
    assert.equal(await job.ended(60_000), { type: "finished" });
    assert.ok(tries > 1, String(tries));
    const errors = job.reports.filter(({ event, level }) => event === "job.send.failed" && level === "warn");
    assert.equal(errors.map(({ fields }) => fields?.["error"]), ["stream-reset", "cancelled"]);
  },
);

needing(test, "node")("a send that the end of a lease cuts is reported", async () => {
  const { network, got } = slowNetwork(10_000);
  const job = start({ cmd: node, args: ["-e", sender] }, { network, limits: { idleMs: 30_000 } });
  await job.started();
  await eventually("the executor's end", () => identifyProcess(job.pid()) === undefined);
  assert.equal(got, []);
  job.send({ type: "job.cancel", reason: "its lease is over" });
  await job.ended();
  const failed = job.reports.filter(({ event }) => event === "job.send.failed");
  assert.equal(failed.map(({ fields }) => [fields?.["peer"], fields?.["path"]]), [[aggregator, "last"]]);
  assert.match(failed[0]?.message ?? "", /its job ended first/);
  job.stop();
});

needing(test, "node")("bug: a send that the end of a job cut was reported after that end", async () => {
  // Removing the directory takes no time, and a read cannot be interrupted.
  const remove = fromEffect("removed", (_: { readonly ports: Ports; readonly path: string }) => Effect.void);
  const slowRead = (file: ReadableFile): ReadableFile => ({
    ...file,
    read: (into, position) => Effect.uninterruptible(Effect.delay(file.read(into, position), 1_000)),
  });
  const directory = fromScoped(
    "directory",
    ({ ports, job }: { readonly ports: Ports; readonly job: JobInput }) =>
      Effect.map(makeWorkDirectory(job.workDir, ports.uuid()), (made) => ({
        directory: { ...made, openForReading: (path: string) => Effect.map(made.openForReading(path), slowRead) },
        cell: undefined,
      })),
  );
  const logic = jobMachine.provide({ actors: { directory, remove } });
  for (const given of [spec, ofTraining]) {
    const { network } = slowNetwork(10_000);
    const over = { network, spec: given, limits: { idleMs: 30_000 } };
    const job = start({ cmd: node, args: ["-e", sender] }, over, logic);
    await job.started();
    await eventually("the executor's end", () => identifyProcess(job.pid()) === undefined);
    job.send({ type: "job.cancel", reason: "its lease is over" });
    await job.ended();
    const failed = job.reportedBeforeEnd().filter(({ event }) => event === "job.send.failed");
    assert.equal(failed.map(({ fields }) => fields?.["error"]), ["cancelled"]);
    job.stop();
  }
});

test("a job leaves no descriptor and no listener behind", async () => {
  const open = () => readdirSync("/proc/self/fd").length;
  const once = async () => assert.equal(await start(shell("exit 0")).ended(), { type: "finished" });
  await once();
  await runOf(Effect.sleep(50));
  const before = [open(), process.listenerCount("exit")];
  for (let round = 0; round < 10; round++) await once();
  await eventually("the descriptors' end", () => open() <= (before[0] ?? 0));
  assert.is(process.listenerCount("exit"), before[1]);
});

test.run();
