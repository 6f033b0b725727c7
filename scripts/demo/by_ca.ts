/**
 * The demo's CA: `hypha-ca` as a member of the network. Every node gets its certificate by a token, with `join`.
 *
 * @module
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Result } from "effect";
import { formatPem, parsePem } from "../../pki/mod.ts";
import type { Runtime } from "../check/runtimes.ts";
import { joinPermissions } from "../program/deno_permissions.ts";
import { BrokenPromise } from "./broken_promise.ts";
import { type Certifier, type Place, placeIn } from "./certifier.ts";
import type { NodePlan } from "./configuration.ts";
import { NodeProcess, runOnce } from "./processes.ts";
import { commandOf, scriptOf } from "./runtimes.ts";
import { runTool } from "./tools.ts";

const startTimeoutMs = 180_000;
const joinTimeoutMs = 120_000;

/** What the CA has to know. */
interface ByCaOptions {
  readonly folder: string;
  readonly port: number;
  /** What the CA runs on. */
  readonly runtime: Runtime;
  readonly gateway: NodePlan;
}

/** A CA in `ca/`, and a folder for each node in `nodes/`. */
export class ByCa implements Certifier {
  readonly way = "ca";
  readonly #options: ByCaOptions;
  readonly #ca: string;
  /** The tokens that were used. */
  readonly #tokens = new Map<string, string>();

  constructor(options: ByCaOptions) {
    this.#options = options;
    this.#ca = join(options.folder, "ca");
  }

  async begin(): Promise<NodeProcess> {
    const { folder, port, runtime, gateway } = this.#options;
    const address = `${gateway.name}=/ip4/127.0.0.1/tcp/${gateway.port}`;
    const url = ["--url", `https://127.0.0.1:${port}`];
    await runTool(
      "hypha-ca",
      "init",
      "--domain",
      "hypha.local",
      "--name",
      "ca",
      ...url,
      "--gateway",
      address,
      "-d",
      this.#ca,
    );
    const config = readFileSync(this.#config, "utf8");
    // Everything happens on loopback here.
    writeFileSync(this.#config, config.replace(`"0.0.0.0:${port}"`, `"127.0.0.1:${port}"`));
    const [command, ...before] = commandOf(runtime, ["-A"]);
    const args = [...before, scriptOf("ca"), "run", "-c", this.#config, "--log-format", "json"];
    mkdirSync(join(folder, "logs"), { recursive: true, mode: 0o700 });
    const logFile = join(folder, "logs", "ca.log");
    const ca = new NodeProcess({ name: "ca", role: "ca", runtime, command, args, logFile });
    await ca.waitFor(({ event }) => event === "ca.listening", "open port", startTimeoutMs);
    return ca;
  }

  async certify({ name, role, runtime }: NodePlan, values: Readonly<Record<string, unknown>>): Promise<void> {
    const printed = await runTool("hypha-ca", "token", "-c", this.#config, "--role", role, "--name", name);
    const token = printed.trim();
    const { config } = this.placeOf(name);
    mkdirSync(dirname(config), { recursive: true, mode: 0o700 });
    const { code, stderr } = await this.#join({ name, role, runtime }, config, flagsOf(values), token);
    if (code !== 0) throw new BrokenPromise(`${name} cannot join: ${stderr.trim().split("\n").at(-1)}`);
    this.#tokens.set(name, token);
  }

  placeOf(name: string): Place {
    return placeIn(join(this.#options.folder, "nodes", name), name);
  }

  commonName(name: string): string {
    return name;
  }

  /** Counts from the command's start: what the CA needs is part of the way. */
  async revoke(name: string): Promise<number> {
    const began = Date.now();
    await runTool("hypha-ca", "revoke", "-c", this.#config, name, "--reason", "keyCompromise");
    return began;
  }

  issuer() {
    const [issuing] = Result.getOrThrow(parsePem(readFileSync(join(this.#ca, "ca-cert.pem"), "utf8")));
    if (issuing === undefined) throw new BrokenPromise("the CA has no certificate");
    const keyPem = readFileSync(join(this.#ca, "ca-key.pem"), "utf8");
    return { certPem: formatPem("CERTIFICATE", issuing.der), keyPem };
  }

  /** Joins with a token that a node has used: another key asks for its certificate. Returns the code of the refusal. */
  async tryUsedToken(plan: NodePlan): Promise<string> {
    const folder = join(this.#options.folder, "nodes", "thief");
    mkdirSync(folder, { mode: 0o700 });
    const { code, stderr } = await this.#join(plan, join(folder, "thief.toml"), [], this.#tokens.get(plan.name) ?? "");
    return code === 0 ? "certified" : /token-[a-z]+/.exec(stderr)?.[0] ?? stderr.trim();
  }

  get #config(): string {
    return join(this.#ca, "ca.toml");
  }

  #join(
    { role, runtime }: Pick<NodePlan, "name" | "role" | "runtime">,
    config: string,
    flags: readonly string[],
    token: string,
  ) {
    const folder = dirname(config);
    const permissions = joinPermissions({ folder, readPaths: [], ca: `127.0.0.1:${this.#options.port}` });
    const [command, ...before] = commandOf(runtime, permissions);
    const args = [...before, scriptOf(role), "join", "-", "-o", config, ...flags];
    return runOnce(command, args, { timeoutMs: joinTimeoutMs, cwd: folder, input: token });
  }
}

/** Keys of a configuration as flags of `join`: tables joined by a dash. */
function flagsOf(values: Readonly<Record<string, unknown>>, table = ""): readonly string[] {
  return Object.entries(values).flatMap(([key, value]) => {
    const flag = `${table}${key.replaceAll("_", "-")}`;
    // The job is given whole.
    if (flag === "scheduler") return ["--job", JSON.stringify((value as { readonly job: unknown }).job)];
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return flagsOf(value as Readonly<Record<string, unknown>>, `${flag}-`);
    }
    return [`--${flag}`, Array.isArray(value) ? JSON.stringify(value) : String(value)];
  });
}
