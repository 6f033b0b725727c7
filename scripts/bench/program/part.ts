/**
 * The part `program` of the performance table (P15): start, memory and idle cost of the programs as the package has them, bundled
 * into a folder of their own. The node that a gateway is compared with is bundled in the same way.
 *
 * @module
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { bundle, bundlePrograms } from "../../build/bundles.ts";
import { runCommand } from "../../check/command.ts";
import { scriptCommand } from "../../check/runtimes.ts";
import { type GatewayProgram, runListener } from "../gate/gateway_program.ts";
import { makeNetworkWorld, type NetworkWorld } from "../network/network_world.ts";
import { type BenchRow, makeRow, median } from "../row.ts";

interface Plan {
  /** Starts of each program. */
  readonly starts: number;
  /** A node has settled after this long, in milliseconds. */
  readonly settleMs: number;
  /** How long idle nodes are measured, in milliseconds. */
  readonly idleMs: number;
}
const full: Plan = { starts: 7, settleMs: 10_000, idleMs: 60_000 };
const short: Plan = { starts: 1, settleMs: 200, idleMs: 500 };
/** Processes whose memory is compared, of each kind. */
const residentMax = 3;
const minuteMs = 60_000;
const startMs = 60_000;

const root = fileURLToPath(new URL("../../..", import.meta.url));

/** Measures it. */
export async function measure({ quick }: { readonly quick: boolean }): Promise<readonly BenchRow[]> {
  const plan = quick ? short : full;
  const folder = mkdtempSync(join(tmpdir(), "hypha-bench-programs-"));
  const world = await makeNetworkWorld();
  try {
    writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
    writeFileSync(join(folder, "nothing.js"), "");
    await bundlePrograms({ root, outdir: folder });
    const entries = { plain_node: "scripts/bench/program/plain_node.ts" };
    await bundle({ root, outdir: join(folder, "plain"), entries, external: [] });
    return [
      ...await startRows(folder, plan),
      await memoryRow(folder, world, plan),
      ...await idleRows(folder, world, plan),
    ];
  } finally {
    world.remove();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function startRows(folder: string, { starts }: Plan): Promise<readonly BenchRow[]> {
  const nothing = [join(folder, "nothing.js")];
  const rows: BenchRow[] = [];
  for (const name of ["gateway", "certutil"] as const) {
    const help = [join(folder, `hypha_${name}.js`), "--help"];
    const spent: { readonly help: number[]; readonly nothing: number[] } = { help: [], nothing: [] };
    for (let round = 0; round < starts; round++) {
      spent.nothing.push(await cpuMsOf(nothing));
      spent.help.push(await cpuMsOf(help));
    }
    rows.push(makeRow({
      id: `P15.help.${name}`,
      what: `processor time of hypha-${name} --help`,
      unit: "ms",
      value: median(spent.help),
      peer: { name: "an empty file", value: median(spent.nothing) },
      op: "<=",
      target: 3,
    }));
  }
  return rows;
}

/** Processor time of a script until it ends, by bash's `time`: neither runtime tells that of its children. */
async function cpuMsOf(script: readonly string[]): Promise<number> {
  const command = [...scriptCommand("Deno" in globalThis ? "deno" : "node"), ...script];
  const args = ["-c", 'TIMEFORMAT="%3U %3S"; time "$@" >/dev/null', "time", ...command];
  const { code, stderr } = await runCommand("bash", args, { timeoutMs: startMs });
  const [user = NaN, system = NaN] = stderr.trim().split(" ").map(Number);
  if (code !== 0 || Number.isNaN(user + system)) throw new Error(`${script.join(" ")} ended with ${code}: ${stderr}`);
  return (user + system) * 1_000;
}

const runProgram = (folder: string, role: "gateway" | "worker", config: string): Promise<GatewayProgram> =>
  runListener([join(folder, `hypha_${role}.js`), "run", "-c", config]);

async function memoryRow(folder: string, world: NetworkWorld, { starts, settleMs }: Plan): Promise<BenchRow> {
  const config = await world.configFile("alone", "gateway", {});
  const resident = async (node: GatewayProgram) => {
    try {
      await pause(settleMs);
      return node.rssBytes() / 1e6;
    } finally {
      node.stop();
    }
  };
  const [ours, plain]: [number[], number[]] = [[], []];
  for (let round = 0; round < Math.min(starts, residentMax); round++) {
    ours.push(await resident(await runProgram(folder, "gateway", config)));
    plain.push(await resident(await runListener([join(folder, "plain/plain_node.js")])));
  }
  return makeRow({
    id: "P15.rss",
    what: "resident memory of an idle gateway",
    unit: "MB",
    value: median(ours),
    peer: { name: "js-libp2p with noise and the same services", value: median(plain) },
    op: "<=",
    target: 1.4,
  });
}

/** A gateway and one worker. */
async function idleRows(folder: string, world: NetworkWorld, { settleMs, idleMs }: Plan): Promise<readonly BenchRow[]> {
  const nodes: (readonly [role: string, node: GatewayProgram])[] = [];
  try {
    const gateway = await runProgram(folder, "gateway", await world.configFile("gateway", "gateway", {}));
    nodes.push(["gateway", gateway]);
    const config = await world.configFile("worker", "worker", {
      gateway_addresses: [gateway.address],
      executors: [{ class: "aggregate", name: "parameter-server", runtime: "parameter-server" }],
      resources: { cpu: 1, memory: 1, storage: 1, gpu: 0 },
      work_dir: world.workDir("worker"),
    });
    nodes.push(["worker", await runProgram(folder, "worker", config)]);
    await pause(settleMs);
    const before = nodes.map(([, node]) => node.cpuUs());
    await pause(idleMs);
    return nodes.map(([role, node], nth) =>
      makeRow({
        id: `P15.idle.${role}`,
        what: `processor time of an idle ${role} in a minute`,
        unit: "s",
        value: (node.cpuUs() - before[nth]!) / 1e6 * minuteMs / idleMs,
        op: "<=",
        target: 0.3,
      })
    );
  } finally {
    for (const [, node] of nodes) node.stop();
  }
}
