/**
 * The gateway's program with its defaults, in a process of its own.
 *
 * @module
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { scriptCommand } from "../../check/runtimes.ts";
import type { EndFiles } from "./world.ts";

/** Longest start, in milliseconds. */
const startMs = 60_000;
/** Microseconds of a clock tick in `/proc` (`USER_HZ`, 100 on every platform that the runtimes have). */
const tickUs = 10_000;
/** Octets in a page, on the machines that this runs on. */
const pageBytes = 4_096;

/** A gateway, or another process that listens. */
export interface GatewayProgram {
  readonly address: string;
  /** Processor time since its start, in microseconds. */
  cpuUs(): number;
  /** Resident memory now, in octets. */
  rssBytes(): number;
  stop(): void;
}

/**
 * Starts it with nothing in its configuration but files and one address.
 *
 * @param more Further lines of the configuration.
 */
export async function startGateway(
  { identity, trustPem, crlsPath }: EndFiles,
  more: readonly string[] = [],
): Promise<GatewayProgram> {
  const folder = mkdtempSync(join(tmpdir(), "hypha-bench-gateway-"));
  const write = (name: string, text: string) => {
    const path = join(folder, name);
    writeFileSync(path, text, { mode: 0o600 });
    return JSON.stringify(path);
  };
  const config = join(folder, "gateway.toml");
  writeFileSync(
    config,
    [
      `cert_pem = ${write("cert.pem", identity.certPem)}`,
      `key_pem = ${write("key.pem", identity.keyPem)}`,
      `trust_pem = ${write("trust.pem", trustPem)}`,
      `crls_pem = ${JSON.stringify(crlsPath)}`,
      `listen_addresses = ["/ip4/127.0.0.1/tcp/0"]`,
      ...more,
      "",
    ].join("\n"),
  );
  const remove = () => rmSync(folder, { recursive: true, force: true });
  const running = await runGateway(config).catch((error: unknown) => {
    remove();
    throw error;
  });
  return {
    ...running,
    stop: () => {
      running.stop();
      remove();
    },
  };
}

/** Starts `hypha-gateway run` on this runtime; resolves once it listens. */
export function runGateway(config: string): Promise<GatewayProgram> {
  return runListener([fileURLToPath(new URL("../../hypha_gateway.ts", import.meta.url)), "run", "-c", config]);
}

/** Starts a script on this runtime; resolves once it has printed the address on which it listens. */
export async function runListener(script: readonly string[]): Promise<GatewayProgram> {
  const [program, ...flags] = scriptCommand("Deno" in globalThis ? "deno" : "node");
  const child = spawn(program, [...flags, ...script], { stdio: ["ignore", "pipe", "pipe"] });
  const stop = () => void child.kill("SIGKILL");
  const seen: string[] = [];
  const address = await new Promise<string>((resolve, reject) => {
    const fail = (why: string) => reject(new Error(`${script[0]} ${why}: ${seen.slice(-5).join("\n")}`));
    const timer = setTimeout(() => fail(`was not ready within ${startMs} ms`), startMs);
    child.once("exit", (code) => fail(`ended with ${code}`));
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on("line", (line) => {
        if (seen.length < 20) seen.push(line);
        const listening = /\/ip4\/127\.0\.0\.1\/tcp\/[1-9]\d*\/p2p\/\w+/.exec(line)?.[0];
        if (listening === undefined) return;
        clearTimeout(timer);
        resolve(listening);
      });
    }
  }).catch((error: unknown) => {
    stop();
    throw error;
  });
  return { address, stop, cpuUs: () => cpuUsOf(child.pid!), rssBytes: () => rssBytesOf(child.pid!) };
}

/** User and system time of a process (proc_pid_stat(5): fields 14 and 15; the name in field 2 may have spaces). */
function cpuUsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * tickUs;
}

/** Resident pages of a process (proc_pid_statm(5)). */
function rssBytesOf(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * pageBytes;
}
