/**
 * A hostile scheduler. It holds a lease, so the worker takes its jobs, and each of its messages is an attack. The messages
 * arrive as bytes and pass the codec, as on a real network. The worker is the real machine with real jobs in real cells; only
 * its transport is a fake.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { readdirSync } from "node:fs";
import { Result } from "effect";
import { fromCallback } from "xstate";
import { cellDefault } from "../../../actors/config/cell_config.ts";
import type { WorkerConfig } from "../../../actors/config/config.ts";
import type { PreparedWorker } from "../../../actors/job/cell/prepare.ts";
import { type EffectDone, fromSource } from "../../../actors/runtime/effect_actor.ts";
import type { Report } from "../../../actors/runtime/ports.ts";
import type { TransportRef } from "../../../actors/runtime/role.ts";
import { superviseRoot } from "../../../actors/runtime/supervise.ts";
import { workerMachine } from "../../../actors/worker/worker.ts";
import { withConnected } from "../../../pki/member.ts";
import type { PeerIdentity } from "../../../pki/path.ts";
import type { TransportAsk, TransportFact } from "../../../transport/port.ts";
import type { ApiRequest, ApiResponse, JobSpec, Message } from "../../../transport/protocols/messages.ts";
import { decodeMessage, encodeMessage, peersReferencedMax } from "../../../transport/protocols/mod.ts";
import { makePorts } from "../../program/ports.ts";
import { formatLine } from "../../program/log_line.ts";
import type { Attack } from "./attacks.ts";
import { spentMs } from "../own_process.ts";
import { askBridge, escapes } from "./hostile.ts";
import { type AttackWorld, eventually, freshId, runJob, scheduler, specOf } from "./world.ts";

const api = "/hypha-api/0.0.1" as const;
const resources = { cpu: 1, gpu: 0, memory: 1, storage: 1 };
/** A worker decodes, checks and answers a request of 1 MiB within this, in milliseconds of processor time. */
const answerMs = 5_000;
/** An answer, or an offer, is waited for so long, in milliseconds. */
const waitMs = 30_000;
/** Decoding any malformed message ends within this, in milliseconds of processor time. */
const decodeMs = 2_000;
/** A line of the log, with room for its escapes, in characters. */
const lineMax = 6 * 16_384;

/** Names that attack paths, strings of C, lines of logs, and arguments. */
const hostileNames = [
  "../../../../etc/passwd",
  "/etc/passwd",
  "a/b/../../..",
  "nul\0nul",
  "x".repeat(65_536),
  '\x1b[2J\x1b]0;owned\x07\r\n{"level":"info","event":"node.ready","message":"forged"}\n',
  "\u202egpj.exe\u2028\u2029\u0085",
  "{WORK_DIR}{JOB_JSON}$(touch /tmp/owned);`id`",
  "-rf",
  "__proto__",
  "",
];

/** A worker with a fake transport. */
interface Victim {
  readonly reports: readonly Report[];
  readonly died: () => unknown;
  /** Returns the answer to the bytes of a request; undefined where they do not decode, `declined` for no answer. */
  ask(bytes: Uint8Array): Promise<ApiResponse | "declined" | undefined>;
  /** A lease for one job. */
  lease(): Promise<void>;
  /** The outcomes of the jobs that have ended. */
  readonly ended: () => readonly string[];
  stop(): void;
}

/** What the attacker's certificate proves. */
const identity = {
  peer: scheduler,
  name: "scheduler",
  subject: "CN=scheduler",
  issuer: "CN=ca",
  names: [],
  domain: undefined,
  role: "scheduler",
} as unknown as PeerIdentity;
const members = withConnected([], identity);

function startVictim(world: AttackWorld): Victim {
  const reports: Report[] = [];
  const asks: TransportAsk[] = [];
  const ports = { ...makePorts(() => {}), report: (report: Report) => void reports.push(report) };
  const transport = superviseRoot(
    fromCallback<TransportAsk>(({ receive }) =>
      receive((ask) => {
        asks.push(ask);
        if (ask.type === "request") {
          const answer = "WorkerOffer" in ask.message ? { WorkerOffer: {} } : { JobStatus: {} };
          queueMicrotask(() => ask.replyTo.send({ type: "response", id: ask.id, message: answer }));
        }
      })
    ),
    { id: "transport", input: undefined, onError: () => {} },
  );
  const sweep = fromSource((_: unknown, send: (event: EffectDone<"sweep", PreparedWorker>) => void) => {
    send({ type: "effect.done.sweep", value: { removed: [], failed: [], unowned: [], cell: world.cell } });
    return () => {};
  });
  let death: unknown;
  const code = 'echo RAN; [ -n "$JOB_JSON" ] && echo "told ${#JOB_JSON}"; exit 0';
  const config = {
    role: "worker",
    workDir: world.workDir,
    resources: { cpu: 64, gpu: 0, memory: 64, storage: 64 },
    offer: { price: 1, floor: 0, strategy: "flexible" },
    executors: [{ class: "train", name: "hostile", runtime: "process", cmd: "/bin/sh", args: ["-c", code] }],
    cell: { ...cellDefault, allowUnconfined: true },
  } as unknown as WorkerConfig;
  const machine = workerMachine.provide({ actors: { sweep } });
  const actor = superviseRoot(machine, {
    id: "worker",
    input: { config, ports, transport: transport as unknown as TransportRef, self: "worker", members },
    onError: (error) => death ??= error,
  });
  let exchanges = 0;
  const ask = async (bytes: Uint8Array) => {
    const message = decodeMessage(api, "request", bytes);
    if (Result.isFailure(message)) return undefined;
    const exchange = `x${exchanges += 1}`;
    actor.send(requestEvent(exchange, message.success));
    const answer = () =>
      asks.find((sent) => (sent.type === "respond" || sent.type === "decline") && sent.exchange === exchange);
    await eventually(() => answer() !== undefined, waitMs);
    const reply = answer();
    return reply?.type === "respond" ? reply.message as ApiResponse : "declined";
  };
  const lease = async () => {
    const from = asks.length;
    actor.send(leaseRequestEvent(ports.uuid()));
    const offer = () =>
      asks.slice(from).flatMap((sent) =>
        sent.type === "request" && "WorkerOffer" in sent.message ? [sent.message.WorkerOffer as { id: string }] : []
      )[0];
    await eventually(() => offer() !== undefined, waitMs);
    await ask(encodeMessage(api, "request", { RenewLease: { id: offer()?.id ?? ports.uuid() } }));
  };
  return {
    reports,
    died: () => death,
    ask,
    lease,
    ended: () => reports.filter(({ event }) => event === "job.ended").map(({ fields }) => String(fields?.["outcome"])),
    stop: () => {
      actor.stop();
      transport.stop();
    },
  };
}

/** A request of the scheduler, as the transport reports it. */
function requestEvent(exchange: string, message: Message): TransportFact {
  return { type: "request.received", exchange, peer: scheduler, identity, protocol: api, message };
}

/** The scheduler's broadcast that asks workers for a lease. */
function leaseRequestEvent(id: string): TransportFact {
  const spec = { resources, executor: [{ class: "train", name: "hostile" }] } as const;
  const timeout = { secs_since_epoch: 0, nanos_since_epoch: 0 };
  const message = { id, spec, timeout, bid: 10 };
  return { type: "published", topic: "hypha/worker", from: scheduler, identity, via: scheduler, message };
}

function dispatch(spec: JobSpec, id: string): Uint8Array {
  const message: ApiRequest = { DispatchJob: { id, spec } };
  return encodeMessage(api, "request", message);
}

/** A job for the configured executor. The attacker chooses every name in it. */
function named(name: string, jobId: string, executor = "hostile"): JobSpec {
  const spec = specOf(jobId, name);
  if (spec.executor.class !== "train") return spec;
  const { config } = spec.executor;
  return {
    ...spec,
    executor: {
      ...spec.executor,
      descriptor: { name: executor },
      config: {
        ...config,
        data: { type: "scheduler", peer: scheduler, dataset: name },
        model: { ...config.model, "input-names": [name, name] },
      },
    },
  };
}

const isFailed = (answer: unknown) =>
  typeof answer === "object" && answer !== null && "DispatchJob" in answer && answer.DispatchJob === "Failed";
const isTaken = (answer: unknown) =>
  typeof answer === "object" && answer !== null && "DispatchJob" in answer && !isFailed(answer);

/** Faults of the log lines that the reports become. */
function forged(reports: readonly Report[]): string[] {
  const wrong = (["text", "json"] as const).flatMap((format) =>
    reports.map((report) => formatLine({ ...report, time: "2026-01-01T00:00:00.000Z", node: "worker" }, format))
  ).filter((line) => /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(line) || line.length > lineMax);
  return wrong.map((line) => `a line of the log: ${JSON.stringify(line.slice(0, 80))}`);
}

/** Whether an honest job still comes to its end, right. */
async function stillServes(victim: Victim): Promise<string[]> {
  const before = victim.ended().length;
  await victim.lease();
  const answer = await victim.ask(dispatch(specOf(freshId()), freshId()));
  if (!isTaken(answer)) return [`an honest job was not taken: ${JSON.stringify(answer)}`];
  await eventually(() => victim.ended().length > before, waitMs);
  return victim.ended()[before] === "finished" ? [] : [`an honest job: ${victim.ended()[before] ?? "no end"}`];
}

async function against(world: AttackWorld, attack: (victim: Victim) => Promise<string[]>): Promise<string[]> {
  const outside = () => readdirSync(world.folder).sort().join();
  const before = outside();
  const victim = startVictim(world);
  try {
    const escaped = await attack(victim);
    escaped.push(...await stillServes(victim), ...forged(victim.reports));
    if (victim.died() !== undefined) escaped.push(`the worker died: ${victim.died()}`);
    const left = () => readdirSync(world.workDir).filter((name) => name.startsWith("hypha-"));
    await eventually(() => left().length === 0, 5_000);
    if (left().length > 0) escaped.push(`left behind: ${left().join()}`);
    if (outside() !== before) escaped.push("something was made outside");
    return escaped;
  } finally {
    victim.stop();
  }
}

const hostileScheduler: Attack = {
  id: "hostile-names",
  run: async (world, scale) => {
    const names = scale < 1 ? hostileNames.slice(0, 6) : hostileNames;
    const escaped = await against(world, async (victim) => {
      const escaped: string[] = [];
      for (const name of names) {
        const label = JSON.stringify(name.slice(0, 20));
        await victim.lease();
        const unknown = await victim.ask(
          dispatch(named("http://x.test/", freshId(), name), freshId()),
        );
        if (!isFailed(unknown)) escaped.push(`an executor ${label} that is not configured: ${JSON.stringify(unknown)}`);
        const before = victim.ended().length;
        const taken = await victim.ask(dispatch(named(name, freshId()), freshId()));
        if (!isTaken(taken)) escaped.push(`a job that names ${label} was not taken`);
        else if (!await eventually(() => victim.ended().length > before, waitMs)) escaped.push(`${label}: no end`);
      }
      const told = victim.reports.filter(({ message }) => message.startsWith("told ")).length;
      return told === 0 ? [...escaped, "no hostile job ran at all"] : escaped;
    });
    return { attempts: names.length * 2, escaped };
  },
};

/** The single peer in `results` of a specification as a CBOR list of one, and hostile values in its place. */
function withPeers(count: number, present: number): Uint8Array {
  const one = dispatch(specOf(freshId()), freshId());
  // 81 58 26: a list of one, bytes, 38 of them.
  const at = Buffer.from(one).indexOf(Buffer.from([0x65, 0x70, 0x65, 0x65, 0x72, 0x73, 0x81]), 0) + 6;
  const width = Buffer.from(one).subarray(at + 1)[0] === 0x58 ? 40 : 2 + Buffer.from(one).subarray(at + 1)[1]!;
  const peer = Buffer.from(one).subarray(at + 1, at + 1 + width);
  const head = Buffer.alloc(9, 0x9b);
  head.writeBigUInt64BE(BigInt(count), 1);
  return Buffer.concat([
    one.subarray(0, at),
    head,
    ...Array.from({ length: present }, () => peer),
    one.subarray(at + 1 + width),
  ]);
}

const manyPeers: Attack = {
  id: "million-peers",
  run: async (world) => {
    const escaped = await against(world, async (victim) => {
      const escaped: string[] = [];
      const refused = async (what: string, bytes: Uint8Array) => {
        const begun = spentMs();
        if (await victim.ask(bytes) !== undefined) escaped.push(`${what} was decoded`);
        if (spentMs() - begun > decodeMs) {
          escaped.push(`${what} took ${Math.round(spentMs() - begun)} ms`);
        }
      };
      await refused("a list of a million peers", withPeers(1_000_000, 1_000_000));
      await refused("a list that claims a million and has one", withPeers(1_000_000, 1));
      await refused("a list that claims 2^60 and has none", withPeers(2 ** 60, 0));
      await refused("a list of 25,000 peers", withPeers(25_000, 25_000));
      // As many as a job may name. The worker decodes and checks them and continues, whatever the outcome of the job.
      await victim.lease();
      const before = victim.ended().length;
      const begun = spentMs();
      const most = await victim.ask(withPeers(peersReferencedMax, peersReferencedMax));
      if (spentMs() - begun > answerMs) escaped.push("the most peers stop the worker");
      if (isTaken(most) && !await eventually(() => victim.ended().length > before, waitMs)) {
        escaped.push("the most peers: no end");
      }
      if (!isTaken(most)) escaped.push(`the most peers: ${JSON.stringify(most)}`);
      return escaped;
    });
    return { attempts: 5, escaped };
  },
};

const nested: Attack = {
  id: "nested-messages",
  run: async (world) => {
    const depth = 1_000_000;
    const escaped = await against(world, async (victim) => {
      const escaped: string[] = [];
      const key = Buffer.concat([Buffer.from([0xa1, 0x6b]), Buffer.from("DispatchJob")]);
      const maps = Buffer.concat(Array.from({ length: 300_000 }, () => Buffer.from([0xa1, 0x61, 0x61])));
      for (
        const inner of [Buffer.alloc(depth, 0x81), Buffer.alloc(depth, 0x9f), Buffer.alloc(depth, 0xc1), maps]
      ) {
        for (const bytes of [Buffer.concat([key, inner]), inner]) {
          const begun = spentMs();
          if (await victim.ask(bytes) !== undefined) {
            escaped.push(`${inner.subarray(0, 3).toString("hex")}… was decoded`);
          }
          if (spentMs() - begun > decodeMs) {
            escaped.push(`${inner.subarray(0, 3).toString("hex")}… stops the worker`);
          }
        }
      }
      return escaped;
    });
    const code = `${askBridge}
      const raw = (text, path) => new Promise((resolve) => { const request = http.request({ path, method: "POST", agent: false,
        socketPath: process.env.SOCKET_PATH, headers: { "content-type": "application/json",
          ...(process.env.BRIDGE_TOKEN ? { authorization: "Bearer " + process.env.BRIDGE_TOKEN } : {}) } },
        (response) => { response.resume().on("close", () => resolve(response.statusCode)); });
        request.on("error", () => resolve(0)); request.end(text); });
      (async () => { for (const [open, close] of [["[", "]"], ['{"a":', "}"], ['{"resource":', "}"], ['{"progress":', "}"]]) {
        const n = Math.floor(1000000 / (open.length + 1));
        for (const text of [open.repeat(n) + "1" + close.repeat(n), open.repeat(n)])
          for (const path of ["/resources/fetch", "/resources/send", "/status/send"]) { const status = await raw(text, path);
            if (![400, 413, 422].includes(status)) console.log("ESCAPED", status, path, open); } }
        if ((await ask("/resources/fetch", { type: "nonsense" })).status !== 422) console.log("ESCAPED the bridge is gone");
      })();`;
    const bridge = escapes(await runJob(world, { runtime: "node", code }, 30_000), 24);
    return { attempts: 8 + bridge.attempts, escaped: [...escaped, ...bridge.escaped] };
  },
};

export const schedulerAttacks: readonly Attack[] = [hostileScheduler, manyPeers, nested];
