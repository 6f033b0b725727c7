/**
 * The states of logs that a witness holds, as files.
 *
 * ```
 * state_dir/witness/              0700
 *   ORIGIN-HASH.json              0600  newest verified state of one log; both checkpoints where it is forked
 *   ORIGIN-HASH.TIME.damaged      0600  a file that held no state when it was read; TIME is that of its last change
 * ```
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { hash } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { AuditHead } from "../../transport/protocols/messages.ts";
import {
  auditChainBytesMax,
  auditKeyBytesMax,
  auditNoteBytesMax,
  auditSignatureBytesMax,
} from "../../transport/protocols/mod.ts";
import { otherLogsMax, sharedLogsMax } from "./book.ts";
import { type ForkProblem, headMessage, type HeldLog, type OpenedHead, openHead } from "./held_head.ts";
import type { HeadStore, HeldLogs } from "./witness_port.ts";

/** Bytes of a head, as messages bound it. */
const headBytesMax = auditNoteBytesMax + auditKeyBytesMax + auditSignatureBytesMax + auditChainBytesMax;
/** Bytes of one file: three heads. A character takes up to six in JSON; base64 takes less, which leaves room for the rest. */
export const headFileBytesMax: number = 3 * 6 * headBytesMax;
/** Files that are read. */
export const headFilesMax: number = sharedLogsMax + otherLogsMax;

/** The folder of a node's state directory that holds them. */
export const witnessFolder = (stateDir: string): string => join(stateDir, "witness");

const fileName = /^[0-9a-f]{32}\.json$/;
const asideName = /^[0-9a-f]{32}\.\d+\.damaged$/;
/** The file in which the state of a log lies whose damaged one was moved aside. */
const stateOf = (aside: string): string => aside.replace(/\.\d+\.damaged$/, ".json");

/** Where the state of a log lies. */
export function headPath(dir: string, origin: string): string {
  return join(dir, `${hash("sha256", origin, "hex").slice(0, 32)}.json`);
}

/** Keeps states in a folder. */
export function headFiles(dir: string): HeadStore {
  return {
    read: () => readHeads(dir),
    write: (held) => writeHead(dir, held),
    remove: (origin) => rm(headPath(dir, origin), { force: true }),
  };
}

/** Reads all states of a folder. Files that hold none are moved aside. Rejects with the system's error where something cannot be read. */
async function readHeads(dir: string): Promise<HeldLogs> {
  const names = new Set(await namesIn(dir));
  const logs: HeldLog[] = [];
  const torn: string[] = [];
  for (const name of [...names].filter((name) => fileName.test(name)).slice(0, headFilesMax)) {
    const path = join(dir, name);
    const held = await readHead(path);
    if (held === "damaged") torn.push(path);
    else if (held !== undefined) logs.push(held);
  }
  // A read that failed, or a process that was killed, moved them and did not say so.
  const aside = [...names].filter((name) => asideName.test(name) && !names.has(stateOf(name))).slice(0, headFilesMax);
  const damaged = aside.map((name) => join(dir, name));
  for (const path of torn) damaged.push(await moveAside(path));
  return { logs, damaged };
}

async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

const isMissing = (error: unknown): boolean => (error as { readonly code?: unknown }).code === "ENOENT";

async function moveAside(path: string): Promise<string> {
  const aside = path.replace(/json$/, `${Math.trunc((await stat(path)).mtimeMs)}.damaged`);
  await rename(path, aside);
  return aside;
}

/** Reads one state; undefined where there is no such file, `damaged` where it holds none. Rejects with the system's error. */
export async function readHead(path: string): Promise<HeldLog | "damaged" | undefined> {
  let text: string;
  try {
    if ((await stat(path)).size > headFileBytesMax) return "damaged";
    text = await readFile(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
  try {
    return heldOf(JSON.parse(text) as Readonly<Record<string, unknown>>) ?? "damaged";
  } catch {
    return "damaged"; // no JSON, or a part of it is null
  }
}

async function writeHead(dir: string, { head, isShared, at, fork }: HeldLog): Promise<void> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const path = headPath(dir, head.origin);
  const forked = fork === undefined ? {} : {
    fork: {
      problem: fork.problem,
      at: new Date(fork.at).toISOString(),
      from: fork.from,
      held: written(fork.held),
      other: written(fork.other),
    },
  };
  const value = {
    origin: head.origin,
    at: new Date(at).toISOString(),
    shared: isShared,
    head: written(head),
    ...forked,
  };
  const text = `${JSON.stringify(value, undefined, 2)}\n`;
  if (Buffer.byteLength(text) > headFileBytesMax) {
    throw new Error(`the state of ${head.origin} takes more than ${headFileBytesMax} bytes`);
  }
  const file = await open(`${path}.tmp`, "w", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.tmp`, path);
  await syncFolder(dir);
}

/** Not every file system lets a folder be synced; the file itself is. */
async function syncFolder(dir: string): Promise<void> {
  const folder = await open(dir, "r");
  try {
    await folder.sync();
  } catch {
    // The file's name may be lost in a power cut: the state is asked for again.
  } finally {
    await folder.close();
  }
}

interface WrittenHead {
  readonly checkpoint: string;
  readonly key: string;
  readonly signature: string;
  readonly chain: readonly string[];
}

function written(opened: OpenedHead): WrittenHead {
  const { checkpoint, key, signature, chain } = headMessage(opened);
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString("base64");
  return { checkpoint, key, signature: text(signature), chain: chain.map(text) };
}

function headOf(value: unknown): OpenedHead | undefined {
  const { checkpoint, key, signature, chain } = value as Readonly<Record<keyof AuditHead, unknown>>;
  if (typeof checkpoint !== "string" || typeof key !== "string" || typeof signature !== "string") return undefined;
  if (!Array.isArray(chain) || !chain.every((each) => typeof each === "string")) return undefined;
  const bytes = (text: string) => Buffer.from(text, "base64");
  return openHead({ checkpoint, key, signature: bytes(signature), chain: chain.map(bytes) });
}

const problems: ReadonlySet<unknown> = new Set<ForkProblem>(["split", "shrunk", "rewritten", "other-key"]);

function heldOf({ at, shared, head: headValue, fork }: Readonly<Record<string, unknown>>): HeldLog | undefined {
  const head = headOf(headValue);
  const time = Date.parse(String(at));
  if (head === undefined || Number.isNaN(time)) return undefined;
  const log = { head, isShared: shared === true, at: time };
  if (fork === undefined) return { ...log, fork };
  const evidence = forkOf(fork, head.origin);
  return evidence && { ...log, fork: evidence };
}

function forkOf(value: unknown, origin: string): HeldLog["fork"] {
  const { problem, at, from, held, other } = value as Readonly<Record<string, unknown>>;
  const [first, second] = [headOf(held), headOf(other)];
  const time = Date.parse(String(at));
  if (!problems.has(problem) || first?.origin !== origin || second?.origin !== origin) return undefined;
  if (Number.isNaN(time)) return undefined;
  return { problem: problem as ForkProblem, held: first, other: second, at: time, from: String(from) };
}
