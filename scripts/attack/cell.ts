/**
 * The part `cell`: hostile executors in real cells, one process a runtime, user and level.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { chmodSync, chownSync, closeSync, mkdtempSync, openSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { runtimeBinary } from "../demo/processes.ts";

/** The report of a run. */
export interface CellReport {
  readonly part: "cell";
  readonly runtime: string;
  readonly user: "root" | "user";
  readonly level: string;
  readonly ok: boolean;
  readonly exits: number;
  readonly unhandled: number;
  readonly attacks: readonly {
    readonly id: string;
    readonly attempts: number;
    readonly expected: string;
    readonly seen: string;
    readonly held: boolean;
  }[];
}

/** How the attacks are run. */
interface CellAttackOptions {
  readonly runtime: "node" | "deno";
  readonly json: boolean;
  readonly quick: boolean;
  readonly rest: readonly string[];
}

/** The user of a run without root's rights, where root starts it. */
const unprivilegedId = 65_534;
/** Share of the attempts of a full run. */
const quickScale = 0.01;
const runMs = 900_000;
const levels = ["full", "root", "namespaces", "bare"];
const script = fileURLToPath(new URL("./cell/run.ts", import.meta.url));

/** One run: who attacks, and at which level. */
interface CellRun {
  readonly runtime: "node" | "deno";
  /** `-` for the strongest. */
  readonly level: string;
  readonly user: "root" | "user";
  readonly scale: number;
  /** All attacks where empty. */
  readonly ids?: readonly string[];
  readonly quiet?: boolean;
}

/** Runs the attacks of the command line. Reports a level that this machine lacks. */
export async function attack(options: CellAttackOptions): Promise<CellReport[]> {
  const isRoot = process.getuid?.() === 0;
  const valueOf = (name: string) => {
    const at = options.rest.indexOf(`--${name}`);
    return at < 0 ? undefined : options.rest[at + 1];
  };
  const scale = options.quick ? quickScale : 1;
  const matrix = options.rest.includes("--matrix");
  const users = matrix ? (isRoot ? ["root", "user"] as const : ["user"] as const) : [
    (valueOf("user") ?? (isRoot ? "root" : "user")) as "root" | "user",
  ];
  const reports: CellReport[] = [];
  for (const user of users) {
    for (
      const level of matrix ? levels.filter((name) => name !== "root" || user === "root") : [valueOf("level") ?? "-"]
    ) {
      const say = options.json ? console.error : console.log;
      say(`── attacks on cells: ${options.runtime}, ${user}, ${level === "-" ? "strongest level" : level}`);
      const report = await runCellAttacks({ runtime: options.runtime, level, user, scale });
      if (report === undefined) {
        say(`This machine has no cell of level ${level} for ${user}`);
        continue;
      }
      reports.push(report);
      const held = report.attacks.filter(({ held }) => held).length;
      say(`${report.ok ? "ok" : "NOT ok"}: level ${report.level}, ${held} of ${report.attacks.length} attacks held`);
    }
  }
  return reports;
}

/** Runs attacks in a separate process; undefined where this machine has no such level. */
export async function runCellAttacks(run: CellRun): Promise<CellReport | undefined> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "hypha-attack-")));
  chmodSync(folder, 0o755);
  const node = await runtimeBinary("node");
  const binary = await runtimeBinary(run.runtime);
  const drop = run.user === "user" && process.getuid?.() === 0;
  if (drop) chownSync(folder, unprivilegedId, unprivilegedId);
  const as = drop ? ["setpriv", `--reuid=${unprivilegedId}`, `--regid=${unprivilegedId}`, "--clear-groups"] : [];
  const flags = run.runtime === "node" ? ["--no-warnings"] : ["run", "-A", "--no-check", "--quiet"];
  const [command = "", ...args] = [...as, binary, ...flags, script, folder, node, run.level, String(run.scale)];
  // No executor may get access to descriptor 9.
  const secret = openSync("/etc/passwd", "r");
  try {
    const child = spawn(command, [...args, ...run.ids ?? []], {
      cwd: folder,
      stdio: [
        "ignore",
        "pipe",
        run.quiet === true ? "ignore" : "inherit",
        "ignore",
        "ignore",
        "ignore",
        "ignore",
        "ignore",
        "ignore",
        secret,
      ],
      env: { ...process.env, DENO_DIR: join(folder, "deno"), HOME: folder },
    });
    let text = "";
    child.stdout?.setEncoding("utf8").on("data", (piece: string) => text += piece);
    const timer = setTimeout(() => child.kill("SIGKILL"), runMs);
    const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
    clearTimeout(timer);
    const line = text.trim().split("\n").at(-1) ?? "";
    if (line === "") {
      return {
        part: "cell",
        runtime: run.runtime,
        user: run.user,
        level: run.level,
        ok: false,
        exits: 1,
        unhandled: 0,
        attacks: [],
      };
    }
    const report = JSON.parse(line);
    if (report.missing === true) return undefined;
    return code === null ? { ...report, ok: false, exits: 1 } : report;
  } finally {
    closeSync(secret);
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}
