/**
 * The code blocks of a document, taken by a reader: one bash for all commands, and the lines of text blocks are waited for
 * before the next command is typed.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";
import type { Writable } from "node:stream";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { isThere } from "../../scripts/check/prerequisites.ts";
import { statsOf } from "../../scripts/demo/processor_time.ts";

/** A fenced block: commands (`sh`) or what the reader is to see (`text`). */
export interface Block {
  readonly language: "sh" | "text";
  readonly text: string;
}

const root = fileURLToPath(new URL("../..", import.meta.url));

/** The blocks of a page of this tree, in order; `heading` names one section of the second level. */
export function blocksOf(page: string, heading?: string): readonly Block[] {
  const text = readFileSync(join(root, page), "utf8");
  const from = heading === undefined ? 0 : text.indexOf(`\n## ${heading}\n`);
  if (from < 0) throw new Error(`${page} has no section ${heading}`);
  const to = heading === undefined ? -1 : text.indexOf("\n## ", from + 1);
  const section = text.slice(from, to < 0 ? undefined : to);
  return [...section.matchAll(/^```(sh|text)\n([\s\S]*?)^```$/gm)].map(([, language, body]) => ({
    language: language as Block["language"],
    text: body ?? "",
  }));
}

/** A copy of the tree as a clone has it; what is installed is shared with this tree. */
export function cloneInto(folder: string): string {
  // Without its stamp, ensure.mjs would install into the folder that the clone shares.
  if (isThere("node") && !existsSync(join(root, "node_modules/.ensured"))) {
    throw new Error("install first: node scripts/ensure.mjs");
  }
  const clone = join(folder, "clone");
  mkdirSync(clone);
  const left = ["node_modules", "tests", "dist", ".git"];
  for (const name of readdirSync(root).filter((name) => !left.includes(name))) {
    cpSync(join(root, name), join(clone, name), { recursive: true });
  }
  mkdirSync(join(clone, "tests/fixtures"), { recursive: true });
  cpSync(join(root, "tests/fixtures/digits.csv"), join(clone, "tests/fixtures/digits.csv"));
  symlinkSync(join(root, "node_modules"), join(clone, "node_modules"));
  return clone;
}

/** A folder for PATH that holds these tools and nothing else. */
export function toolsInto(folder: string, paths: readonly string[]): string {
  const tools = join(folder, "tools");
  mkdirSync(tools);
  for (const path of paths) symlinkSync(path, join(tools, basename(path)));
  return tools;
}

/** Whether `line` shows what the document's line shows, where `…` stands for text left out. */
export function shows(line: string, documented: string): boolean {
  let from = 0;
  return documented.split("…").map((part) => part.trim()).every((part) => {
    const at = line.indexOf(part, from);
    from = at + part.length;
    return at >= 0;
  });
}

/** Blocks come through a descriptor of their own: a command would read the rest of them from standard input. */
const readBlocks = `while IFS= read -r -d '' block <&3; do eval "$block"; done`;

/** Node keeps what it compiled: a document starts the same programs many times. */
const compileCache = (cwd: string) => ({ NODE_COMPILE_CACHE: join(cwd, "..", "compiled") });

/** One bash, as one reader has it open. It ends at the first command that fails. */
export class ShellSession {
  readonly lines: string[] = [];
  readonly #child: ChildProcess;
  readonly #commands: Writable;
  readonly #ended: Promise<number | null>;
  readonly #listeners = new Set<() => void>();
  #typedAt = 0;
  #over = false;

  /** `around` is a command that runs bash, with its arguments. */
  constructor({ cwd, env, lifeMs, around = [] }: {
    cwd: string;
    env: Readonly<Record<string, string>>;
    lifeMs: number;
    around?: readonly string[];
  }) {
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("HYPHA_"));
    const [program = "bash", ...args] = [...around, "bash", "-e", "-c", readBlocks];
    this.#child = spawn(program, args, {
      cwd,
      env: { ...Object.fromEntries(inherited), ...compileCache(cwd), ...env } as NodeJS.ProcessEnv,
      stdio: ["ignore", "pipe", "pipe", "pipe"],
      detached: true,
    });
    const { stdout, stderr, stdio } = this.#child;
    this.#commands = stdio[3] as Writable;
    this.#commands.on("error", () => {}); // bash ended before it read all
    const read = (line: string) => {
      this.lines.push(line);
      for (const listener of this.#listeners) listener();
    };
    for (const output of [stdout, stderr]) if (output !== null) createInterface({ input: output }).on("line", read);
    const timer = setTimeout(() => this.kill(), lifeMs);
    this.#ended = new Promise((resolve, reject) => {
      this.#child.on("error", reject);
      this.#child.on("close", (code) => {
        clearTimeout(timer);
        this.#over = true;
        for (const listener of this.#listeners) listener();
        resolve(code);
      });
    });
    process.on("exit", () => this.kill());
  }

  /** Types a block: commands are entered, lines of text are waited for among those since the last command. */
  async take({ language, text }: Block, timeoutMs: number): Promise<void> {
    if (language === "sh") {
      this.#typedAt = this.lines.length;
      this.#commands.write(`${text}\0`);
    } else {
      await Promise.all(text.trim().split("\n").map((line) => this.#see(line, timeoutMs)));
    }
  }

  /** Processor time of bash and of all that it started, so far, in milliseconds. */
  get processorMs(): number {
    const stats = readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((pid) => statsOf(pid) ?? []);
    return stats.filter(({ session }) => session === this.#child.pid).reduce((sum, { timeMs }) => sum + timeMs, 0);
  }

  /** Closes the input; resolves with bash's exit code. */
  end(): Promise<number | null> {
    this.#commands.end();
    return this.#ended;
  }

  /** Ends bash and everything that it started. */
  kill(): void {
    if (this.#over || this.#child.pid === undefined) return;
    try {
      process.kill(-this.#child.pid, "SIGKILL");
    } catch {
      // It ended while we looked.
    }
  }

  #see(documented: string, timeoutMs: number): Promise<void> {
    const from = this.#typedAt;
    return new Promise((resolve, reject) => {
      const finish = (act: () => void) => {
        clearTimeout(timer);
        this.#listeners.delete(look);
        act();
      };
      const fail = (why: string) =>
        finish(() => reject(new Error(`${why}: ${documented}\n${this.lines.slice(-60).join("\n")}`)));
      const look = () => {
        if (this.lines.slice(from).some((line) => shows(line, documented))) finish(resolve);
        else if (this.#over) fail("bash ended without");
      };
      const timer = setTimeout(() => fail(`not seen in ${timeoutMs} ms`), timeoutMs);
      this.#listeners.add(look);
      look();
    });
  }
}
