/**
 * OpenSSL's verdict on many cases: a process evaluates hundreds of leaves under the same trust, a shell asks for the rest
 * one after the other.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { type FuzzCase, pemOf } from "./evaluate.ts";
import { evaluatedAt } from "./worlds.ts";

/** Commands of one shell. */
const commandsAtOnce = 64;
/** Leaves of one process. */
const leavesAtOnce = 500;
/** For which purposes a node's certificate must hold. */
const purposes = ["sslserver", "sslclient"] as const;
const timeoutMs = 120_000;

/** A folder of cases for OpenSSL. */
export interface Oracle {
  /** For each case, whether `openssl verify` accepts it for both purposes. */
  readonly accepts: (cases: readonly FuzzCase[]) => Promise<readonly boolean[]>;
  /** Its message about one case that it refuses. */
  readonly explain: (given: FuzzCase) => Promise<string>;
  readonly close: () => Promise<void>;
}

/** Strict, at the fixed time, with only the named anchors. */
const usual = ["verify", "-x509_strict", "-no-CApath", "-no-CAstore", "-no-CAfile", "-partial_chain"];
const at = ["-attime", String(evaluatedAt.getTime() / 1_000)];

/** Opens an oracle with its own folder. */
export async function openOracle(): Promise<Oracle> {
  const root = await mkdtemp(join(tmpdir(), "hypha-fuzz-"));
  let made = 0;
  const folder = async () => {
    const path = join(root, String(made++));
    await mkdir(path);
    return path;
  };
  return {
    accepts: async (cases) => {
      const dir = await folder();
      const verdicts = await evaluateAll(cases, dir);
      await rm(dir, { recursive: true });
      return verdicts;
    },
    explain: async (given) => {
      const dir = await folder();
      const args = await writeContext(given, join(dir, "0"));
      await writeFile(join(dir, "leaf"), pemOf("CERTIFICATE", given.chain.slice(0, 1)));
      for (const purpose of purposes) {
        const output = await run("openssl", [...usual, ...at, ...args, "-purpose", purpose, "leaf"], dir);
        if (!/^leaf: OK$/m.test(output)) return output.trim();
      }
      return "accepted";
    },
    close: () => rm(root, { recursive: true, force: true }),
  };
}

/** Everything of a case but its leaf. */
function contextKey({ chain, anchors, lists }: FuzzCase): string {
  return [chain.slice(1), anchors, lists ?? []].map((group) => pemOf("X", group)).join("|") +
    String(lists === undefined);
}

async function evaluateAll(cases: readonly FuzzCase[], dir: string): Promise<readonly boolean[]> {
  const contexts = new Map<string, number[]>();
  for (const [index, given] of cases.entries()) {
    const key = contextKey(given);
    contexts.set(key, [...contexts.get(key) ?? [], index]);
  }
  const commands: string[] = [];
  let number = 0;
  for (const indexes of contexts.values()) {
    const args = await writeContext(cases[indexes[0]!]!, join(dir, `context-${number++}`));
    await Promise.all(
      indexes.map((index) =>
        writeFile(join(dir, `leaf-${index}`), pemOf("CERTIFICATE", cases[index]!.chain.slice(0, 1)))
      ),
    );
    for (let from = 0; from < indexes.length; from += leavesAtOnce) {
      const leaves = indexes.slice(from, from + leavesAtOnce).map((index) => `leaf-${index}`);
      for (const purpose of purposes) {
        commands.push(["openssl", ...usual, ...at, ...args, "-purpose", purpose, ...leaves].join(" "));
      }
    }
  }
  const accepted = new Map<string, number>();
  for (let from = 0; from < commands.length; from += commandsAtOnce) {
    const script = commands.slice(from, from + commandsAtOnce).join("\n");
    const output = await run("sh", ["-c", `${script}\ntrue`], dir);
    for (const [, leaf] of output.matchAll(/^(leaf-\d+): OK$/gm)) accepted.set(leaf!, (accepted.get(leaf!) ?? 0) + 1);
  }
  return cases.map((_, index) => accepted.get(`leaf-${index}`) === purposes.length);
}

/** Writes the files of a case. Returns the arguments that name them. */
async function writeContext({ chain, anchors, lists }: FuzzCase, path: string): Promise<string[]> {
  const args = ["-trusted", `${path}.trusted`];
  await writeFile(`${path}.trusted`, pemOf("CERTIFICATE", anchors));
  if (chain.length > 1) {
    await writeFile(`${path}.others`, pemOf("CERTIFICATE", chain.slice(1)));
    args.push("-untrusted", `${path}.others`);
  }
  if (lists !== undefined) {
    args.push("-crl_check_all", "-extended_crl", "-use_deltas");
    if (lists.length > 0) {
      await writeFile(`${path}.lists`, pemOf("X509 CRL", lists));
      args.push("-CRLfile", `${path}.lists`);
    }
  }
  return args;
}

/** Runs a program. Callers ignore the exit code and read the output. */
function run(program: string, args: readonly string[], cwd: string): Promise<string> {
  const env = { PATH: process.env["PATH"], OPENSSL_CONF: "/dev/null" };
  return new Promise((resolve, reject) => {
    execFile(program, args, { cwd, env, timeout: timeoutMs, maxBuffer: 256 * 1024 * 1024 }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code !== "number") reject(error);
      else resolve(`${stdout}${stderr}`);
    });
  });
}
