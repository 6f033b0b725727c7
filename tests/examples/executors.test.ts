/**
 * `docs/executors.md`: its generated parts are current, and its TypeScript example trains as a process.
 *
 * Method: the test is the bridge. What the executor sends is its result, so that after two rounds the parameters are those of the
 * executor's own steps.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { decodeTensors, encodeTensors } from "../../actors/learning/mod.ts";
import { withTable } from "../../scripts/attack/cell/table.ts";
import { executorsTables } from "../../scripts/program/executors_tables.ts";
import { fromJson, progressSchema } from "../../transport/protocols/mod.ts";
import type { Progress } from "../../transport/protocols/messages.ts";

const root = resolve(".");
const page = readFileSync(join(root, "docs/executors.md"), "utf8");
const peer = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
const peers = { type: "peers", peers: [peer], strategy: { type: "All" }, resource: null };
const job = {
  job_id: "f4633ad1-6b37-4597-85a6-4e58a2117f5a",
  training: { id: "t-1", run: 1, round: 0, samples: 0, rounds: 2 },
  executor: {
    class: "train",
    descriptor: { name: "mean" },
    config: {
      model: { task: "auto", artifact: { type: "scheduler", peer, dataset: "weights" }, "input-names": [] },
      data: { type: "scheduler", peer, dataset: "numbers" },
      updates: peers,
      results: peers,
      optimizer: { "learning-rate": 0.5, betas: null, epsilon: null },
      batch_size: 3,
    },
  },
};

const test = suite("docs/executors.md");

test("its generated parts are those of the code", () => {
  const made = executorsTables().reduce<string | undefined>(
    (text, [marks, table]) => text === undefined ? text : withTable(text, table, marks),
    page,
  );
  assert.is(made, page, "run: npm run executors");
  const job = executorsTables().map(([, table]) => table).find((table) => table.includes("Job = ")) ?? "";
  for (const key of ["job_id: uuid", "batch_size: u32", "training?: Training", '"scheduler", peer: peer']) {
    assert.ok(job.includes(key), key);
  }
});

/** Serves the contract over `workDir`. */
class Bridge {
  readonly heard: string[] = [];
  readonly server: Server;
  readonly #workDir: string;
  readonly #hasPlace: boolean;
  #events: ServerResponse | undefined;
  #batches = 0;
  #rounds = 0;

  constructor(workDir: string, hasPlace = true) {
    this.#workDir = workDir;
    this.#hasPlace = hasPlace;
    this.server = createServer(async (request, response) => {
      let text = "";
      for await (const piece of request as AsyncIterable<Uint8Array>) text += new TextDecoder().decode(piece);
      assert.is(request.headers.authorization, "Bearer secret");
      const body: unknown = JSON.parse(text);
      if (request.url === "/resources/receive") {
        this.#events = response.writeHead(200, { "content-type": "text/event-stream" });
        return void response.flushHeaders();
      }
      response.writeHead(200, { "content-type": "application/json" });
      response.end(JSON.stringify(this.#answer(request.url ?? "", body)) ?? "");
    });
  }

  #answer(route: string, body: unknown): unknown {
    if (route === "/resources/fetch") {
      const { dataset } = body as { readonly dataset: string };
      this.heard.push(dataset);
      if (dataset === "numbers") writeFileSync(join(this.#workDir, dataset), "1\n2\n3\n");
      return [{ path: dataset, size: 1 }];
    }
    if (route === "/resources/send") {
      const { path, resource } = body as { readonly path: string; readonly resource: unknown };
      assert.equal(resource, peers);
      mkdirSync(join(this.#workDir, "incoming"), { recursive: true });
      writeFileSync(join(this.#workDir, "incoming", peer), readFileSync(join(this.#workDir, path)));
      const event = JSON.stringify({ path: `incoming/${peer}`, size: 1, from_peer: peer });
      return void this.#events?.write(`: keepalive\n\ndata: ${event}\n\n`);
    }
    return this.#status(Result.getOrThrow(fromJson(progressSchema, body)));
  }

  #status(progress: Progress): unknown {
    this.heard.push(typeof progress === "string" ? progress : Object.keys(progress).join());
    if (!this.#hasPlace) return { type: "Error" };
    if (progress === "update-received") return { type: ++this.#rounds === 2 ? "Done" : "Continue" };
    if (typeof progress === "string") return { type: "Ok" };
    return ++this.#batches % 3 === 2 ? { type: "ScheduleUpdate", counter: 1 } : { type: "Continue" };
  }
}

/** Starts the page's example; its imports lead into this tree. */
function start(workDir: string, socketPath: string): ChildProcess {
  const block = /^```ts\n\/\/ executor\.ts\n([\s\S]*?)^```$/m.exec(page)?.[1] ?? "";
  const led = block.replace(/(\bfrom )"([^"]+)"/g, (whole, from: string, specifier: string) => {
    if (specifier.startsWith("node:")) return whole;
    const own = pathToFileURL(join(root, "actors/executor/mod.ts")).href;
    return `${from}"${specifier === "hypha-runtime/executor" ? own : import.meta.resolve(specifier)}"`;
  });
  const file = join(workDir, "executor.mts");
  writeFileSync(file, led);
  const flags = "Deno" in globalThis
    ? ["run", "-A", "--quiet", "--no-check", "--config", "deno.json"]
    : ["--no-warnings"];
  // Deno's own spawn would turn a command equal to its path into `deno run -A`.
  return spawn(`${dirname(process.execPath)}/./${basename(process.execPath)}`, [...flags, file], {
    cwd: root,
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: process.env["HOME"] ?? "/",
      SOCKET_PATH: socketPath,
      WORK_DIR: workDir,
      JOB_JSON: JSON.stringify(job),
      BRIDGE_TOKEN: "secret",
    },
    stdio: ["ignore", "inherit", "inherit"],
  });
}

/** Runs the page's example to its end. */
async function run(bridge: Bridge, workDir: string): Promise<number | null> {
  const socketPath = join(workDir, "bridge.sock");
  bridge.server.listen(socketPath);
  await once(bridge.server, "listening");
  try {
    writeFileSync(
      join(workDir, "weights"),
      encodeTensors(new Map([["w", { shape: [1], values: Float32Array.of(0) }]])),
    );
    const child = start(workDir, socketPath);
    const timer = setTimeout(() => child.kill("SIGKILL"), 120_000);
    const [code] = await once(child, "close") as [number | null];
    clearTimeout(timer);
    return code;
  } finally {
    bridge.server.closeAllConnections();
    bridge.server.close();
  }
}

test("the TypeScript example does two rounds as the page says, and ends with 0", async () => {
  const workDir = mkdtempSync(join(tmpdir(), "hypha-executor-"));
  const bridge = new Bridge(workDir);
  try {
    assert.is(await run(bridge, workDir), 0);
    const batch = ["numbers", "status"];
    const round = [...batch, ...batch, ...batch, "update", "update-received"];
    assert.equal(bridge.heard, ["weights", ...round, ...round]);
    assert.ok(existsSync(join(workDir, "update")));
    // Three steps of half the way from 1.75 to the mean: the second round began where the first one ended.
    const last = Result.getOrThrow(decodeTensors(readFileSync(join(workDir, "update")))).get("w")?.values[0];
    assert.is(last, Math.fround(2 - 0.25 / 8 - 1.75));
  } finally {
    rmSync(workDir, { recursive: true, force: true });
  }
});

test("bug: the TypeScript example trained on where the scheduler had no place for it", async () => {
  const workDir = mkdtempSync(join(tmpdir(), "hypha-executor-"));
  const bridge = new Bridge(workDir, false);
  try {
    assert.is(await run(bridge, workDir), 1);
    assert.equal(bridge.heard, ["weights", "numbers", "status"]);
  } finally {
    rmSync(workDir, { recursive: true, force: true });
  }
});

test.run();
