/**
 * The part `gate`: strangers and members on the port of a node with default limits, over real sockets.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { Buffer } from "node:buffer";
import { writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type End, makeEnd } from "../bench/gate/endpoint.ts";
import { type BenchWorld, type EndFiles, makeBenchWorld } from "../bench/gate/world.ts";
import { runtimeBinary } from "../demo/processes.ts";
import type { GateAttack, GateWorld, Shown } from "./gate/attack.ts";
import { members } from "./gate/members.ts";
import { hostileServer } from "./gate/hostile_tls.ts";
import { dialFrom, negotiate } from "./gate/raw_dial.ts";
import { strangers } from "./gate/strangers.ts";
import type { Footprint } from "./gate/victim.ts";

/** What a run says: contracts.md, "Outputs". */
export interface GateReport {
  readonly part: "gate";
  readonly runtime: string;
  readonly user: "root" | "user";
  readonly level: null;
  readonly ok: boolean;
  readonly exits: number;
  readonly unhandled: number;
  readonly attacks: readonly GateAttackRow[];
}

interface Held {
  readonly fds: number;
  readonly heapBytes: number;
  readonly actors: number;
}

/** What came of one attack. */
export interface GateAttackRow {
  readonly id: string;
  readonly attempts: number;
  readonly expected: string;
  readonly seen: string;
  readonly held: boolean;
  readonly honest: { readonly quietP99Ms: number; readonly p99Ms: number };
  readonly before: Held;
  readonly after: Held;
}

/** How the attacks are run. `quick` is for tests: a few attempts each. */
export interface GateAttackOptions {
  readonly runtime: "node" | "deno";
  readonly json: boolean;
  readonly quick: boolean;
}

/** From the victim's first byte to its verdict; a quick run has less time to wait. */
const deadlineMs = { quick: 2_000, full: 5_000 };
const quickMax = 8;
/** An attack by members lasts about a second each. */
const quickMembersMax = 4;
/** How long the victim has to let go of everything after an attack, beyond its deadline, in milliseconds. */
const recoveryMs = 8_000;
/** What may stay of an attack: code that was compiled, caches, sockets that the runtime opens for itself. */
const allowed = { fds: 3, heapBytes: 24 * 1_048_576 };
const handshakesMax = 100;
const script = fileURLToPath(new URL("./gate/victim.ts", import.meta.url));

class Victim {
  readonly #child: ChildProcess;
  #lines: ((line: string) => void)[] = [];
  exits = 0;

  constructor(runtime: "node" | "deno", program: string, file: string, timeoutMs: number) {
    const flags = runtime === "deno"
      ? ["run", "-A", "--quiet", "--v8-flags=--expose-gc"]
      : ["--no-warnings", "--expose-gc"];
    const stdio = ["pipe", "pipe", "inherit"] as const;
    this.#child = spawn(program, [...flags, script, file, String(timeoutMs)], { stdio: [...stdio] });
    this.#child.on("exit", () => this.exits += 1);
    createInterface({ input: this.#child.stdout! }).on("line", (line) => this.#lines.shift()?.(line));
  }

  /** The next line it says. */
  next<T>(): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("the victim does not answer")), 30_000);
      this.#lines.push((line) => {
        clearTimeout(timer);
        resolve(JSON.parse(line));
      });
    });
  }

  /** Has it dial; `let in`, or the code of the refusal. */
  dial(address: string): Promise<string> {
    const answer = this.next<string>();
    this.#child.stdin!.write(`dial ${address}\n`);
    return answer;
  }

  footprint(): Promise<Footprint> {
    const answer = this.next<Footprint>();
    this.#child.stdin!.write("footprint\n");
    return answer;
  }

  async stop(): Promise<void> {
    this.#child.removeAllListeners("exit");
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.stdin!.write("stop\n");
    await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 3_000).unref())]);
    this.#child.kill("SIGKILL");
  }
}

/** Attackers' addresses: 127.0.1.1 to 127.0.20.250. */
const addressOf = (index: number) => `127.0.${1 + Math.floor(index / 250) % 20}.${1 + index % 250}`;
const p99 = (values: readonly number[]) => values.toSorted((a, b) => a - b)[Math.floor(values.length * 0.99)] ?? 0;
const shownBy = ({ chain, identity }: EndFiles): Shown => ({
  chain: chain.map((der) => Buffer.from(der, "base64")),
  keyPem: identity.keyPem,
  certPem: identity.certPem,
});

/** Attack attempts, so many at once, each from an address of its own. */
async function assail(attack: GateAttack, world: GateWorld, count: number): Promise<void> {
  let left = count;
  const one = async () => {
    for (let index = left--; index > 0; index = left--) {
      const socket = await dialFrom(world.port, addressOf(index));
      if (socket === undefined) continue;
      socket.on("error", () => {});
      await attack.run(world, socket).catch(() => {}); // it was refused in the middle of it
      socket.destroy();
    }
  };
  await Promise.all(Array.from({ length: Math.min(count, attack.parallel) }, one));
}

/** An honest peer's handshakes while `until` has not ended, at least five. */
async function honestHandshakes(honest: End, address: string, until: Promise<void>): Promise<number[]> {
  let going = true;
  void until.finally(() => going = false);
  const latencies: number[] = [];
  while ((going || latencies.length < 5) && latencies.length < handshakesMax) {
    const begun = performance.now();
    const wire = await honest.connect(address);
    latencies.push(performance.now() - begun);
    wire.close();
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  return latencies;
}

const held = ({ fds, heapBytes, actors }: Footprint): Held => ({ fds, heapBytes, actors });

/** Waits until the victim holds no more than before. */
async function recovered(victim: Victim, before: Footprint, withinMs: number): Promise<Footprint> {
  const end = performance.now() + withinMs;
  for (;;) {
    const after = await victim.footprint();
    const calm = after.actors <= before.actors && after.fds <= before.fds + allowed.fds &&
      after.heapBytes <= before.heapBytes + allowed.heapBytes;
    if (calm || performance.now() > end) return after;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

interface Siege {
  readonly victim: Victim;
  readonly address: string;
  readonly honest: End;
  readonly world: Omit<GateWorld, "escaped">;
  readonly deadlineMs: number;
  readonly quietP99Ms: number;
}

async function besiege(attack: GateAttack, count: number, siege: Siege): Promise<GateAttackRow> {
  const { victim, address, honest, world, deadlineMs, quietP99Ms } = siege;
  const before = await victim.footprint();
  const problems: string[] = [];
  const assault = assail(attack, { ...world, escaped: (what) => problems.push(what) }, count);
  const latencies = await honestHandshakes(honest, address, assault).catch((error: unknown) => {
    problems.push(`an honest peer was turned away: ${error instanceof Error ? error.message : error}`);
    return [];
  });
  await assault;
  const after = await recovered(victim, before, deadlineMs + recoveryMs);
  const codes = Object.entries(after.refused)
    .map(([code, number]) => [code, number - (before.refused[code] ?? 0)] as const).filter(([, number]) => number > 0);
  const newcomers = Object.keys(after.accepted)
    .filter((name) => name !== "dialler" && after.accepted[name] !== before.accepted[name]);
  const stranger = attack.expected.length > 0;
  const wrong = codes.map(([code]) => code).filter((code) => stranger && !attack.expected.includes(code));
  if (wrong.length > 0) problems.push(`unexpected codes: ${wrong.join(", ")}`);
  if (stranger && newcomers.length > 0) problems.push(`let in: ${newcomers.join(", ")}`);
  if (stranger && codes.length === 0 && attack.unseen !== true) problems.push("no refusal was seen");
  if (!stranger && newcomers.length === 0) problems.push("the member never came in: nothing was attacked");
  if (after.actors > before.actors) problems.push(`${after.actors - before.actors} gates stayed`);
  if (after.fds > before.fds + allowed.fds) problems.push(`${after.fds - before.fds} sockets stayed`);
  if (after.heapBytes > before.heapBytes + allowed.heapBytes) problems.push("the heap grew");
  if (after.unhandled > before.unhandled) problems.push("an error was not handled");
  if (after.failed > before.failed) problems.push("the transport gave up");
  return {
    id: attack.id,
    attempts: count,
    expected: stranger ? attack.expected.join(" | ") : "contained",
    seen: [...codes.map(([code, number]) => `${code} ${number}`), ...problems].join("; ") || "contained",
    held: problems.length === 0,
    honest: { quietP99Ms, p99Ms: p99(latencies) },
    before: held(before),
    after: held(after),
  };
}

/** The other direction: the victim dials who shows a member's certificate without its key. */
async function impersonate(
  victim: Victim,
  { member, thief }: Pick<GateWorld, "member" | "thief">,
  { count, quietP99Ms }: { readonly count: number; readonly quietP99Ms: number },
): Promise<GateAttackRow> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    // A dialler may send its ClientHello together with the protocol's name.
    negotiate(socket).then((ahead) => hostileServer(socket, { chain: member.chain, keyPem: thief.keyPem }, { ahead }))
      .catch(() => {}).finally(() => socket.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const before = await victim.footprint();
  const address = `/ip4/127.0.0.1/tcp/${(server.address() as { port: number }).port}`;
  const seen: Record<string, number> = {};
  for (let dialled = 0; dialled < count; dialled++) {
    const outcome = await victim.dial(address);
    seen[outcome] = (seen[outcome] ?? 0) + 1;
  }
  server.close();
  const after = await recovered(victim, before, recoveryMs);
  return {
    id: "stolen-certificate-listening",
    attempts: count,
    expected: "tls-failed",
    seen: Object.entries(seen).map(([code, number]) => `${code} ${number}`).join("; "),
    held: Object.keys(seen).every((code) => code === "tls-failed") && after.actors <= before.actors,
    honest: { quietP99Ms, p99Ms: quietP99Ms },
    before: held(before),
    after: held(after),
  };
}

/** Runs every attack on one runtime's node. */
export async function attack({ runtime, json, quick }: GateAttackOptions): Promise<GateReport[]> {
  const files = await makeBenchWorld({ quick: true });
  const timeoutMs = quick ? deadlineMs.quick : deadlineMs.full;
  const setupPath = join(files.longPath, "..", "victim.json");
  writeFileSync(setupPath, JSON.stringify(files.listener));
  const victim = new Victim(runtime, await runtimeBinary(runtime), setupPath, timeoutMs);
  try {
    const report = await siege(victim, files, { runtime, quick, timeoutMs, say: json ? console.error : console.log });
    return [report];
  } finally {
    await victim.stop();
    files.remove();
  }
}

async function siege(
  victim: Victim,
  files: BenchWorld,
  { runtime, quick, timeoutMs, say }: {
    runtime: "node" | "deno";
    quick: boolean;
    timeoutMs: number;
    say: (text: string) => void;
  },
): Promise<GateReport> {
  const started = await victim.next<{ type: string; addresses: readonly string[] }>();
  const address = started.addresses[0]!;
  const honest = await makeEnd({ ...files.dialler, way: "hybrid", listens: false });
  const port = Number(address.split("/")[4]);
  const world = { port, member: shownBy(files.revoked), thief: shownBy(files.listener) };
  const quiet = await honestHandshakes(
    honest,
    address,
    new Promise((resolve) => setTimeout(resolve, quick ? 300 : 3_000)),
  );
  const quietP99Ms = p99(quiet);
  const rows: GateAttackRow[] = [];
  for (const attack of [...strangers, ...members]) {
    const most = attack.expected.length === 0 ? quickMembersMax : quickMax;
    const count = quick ? Math.min(most, attack.count) : attack.count;
    const row = await besiege(attack, quick && attack.id === "certificate-16-mb" ? 1 : count, {
      victim,
      address,
      honest,
      world,
      deadlineMs: timeoutMs,
      quietP99Ms,
    });
    const { id, attempts, seen, honest: { p99Ms } } = row;
    const calm = `honest p99 ${p99Ms.toFixed(0)} ms, quiet ${quietP99Ms.toFixed(0)}`;
    say(`${row.held ? "held    " : "NOT held"}  ${id} × ${attempts}: ${seen} (${calm})`);
    rows.push(row);
  }
  const listener = await impersonate(victim, world, { count: quick ? quickMax : 1_000, quietP99Ms });
  say(`${listener.held ? "held    " : "NOT held"}  ${listener.id} × ${listener.attempts}: ${listener.seen}`);
  rows.push(listener);
  const { unhandled } = await victim.footprint();
  const calm = quick || rows.every((row) => row.honest.p99Ms <= 2 * row.honest.quietP99Ms);
  return {
    part: "gate",
    runtime,
    user: process.getuid?.() === 0 ? "root" : "user",
    level: null,
    ok: victim.exits === 0 && unhandled === 0 && calm && rows.every((row) => row.held),
    exits: victim.exits,
    unhandled,
    attacks: rows,
  };
}
