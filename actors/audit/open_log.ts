/**
 * Opens a log: begins one, or finds the end of the one that is there.
 *
 * An incomplete last line, which a crash leaves, is moved aside and recorded. Any other defect is refused: a log that was changed is not
 * continued. A log that is open is locked: a second process would write its records to the places of the first one's.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import {
  appendFileSync,
  closeSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { fileSigner, type Signer } from "../../pki/issue/signer.ts";
import { makeSigningKey } from "../../pki/issue/signing_key.ts";
import { type FileLock, isLocked, lockFile } from "../files/file_lock.ts";
import { syncFolderNow } from "../files/sync_folder.ts";
import { openPkcs11Signer, type Pkcs11Signer } from "../pkcs11/pkcs11_signer.ts";
import { passing } from "../pkcs11/token_process.ts";
import {
  type AuditKey,
  auditKeyOf,
  formatAuditKey,
  originOf,
  parseAuditKey,
  type SignedHead,
  spkiOf,
} from "./checkpoint.ts";
import { AuditFinding } from "./finding.ts";
import { LogChain } from "./log_chain.ts";
import { readEdge } from "./log_edge.ts";
import { cutFile } from "./log_files.ts";
import { LogUnusable } from "./log_unusable.ts";
import { readCheckpoints, readNewestCheckpoint } from "./read_checkpoints.ts";
import { RootChecks } from "./root_checks.ts";
import { checkpointsPath, keyPath, listSegments, lockPath, segmentFile, verifierKeyPath } from "./segments.ts";
import { type LogState, type TornLine, walkLog } from "./walk_log.ts";
import { shellWord } from "../files/shell_word.ts";

/** What a log is opened with. */
export interface LogOptions {
  readonly dir: string;
  /** SPIFFE ID of the node, or its certificate's name where it has none. A log that is there keeps the name that it began with. */
  readonly node: string;
  /** Signs the checkpoints (Ed25519); by default a key in the log's folder, made with the log. */
  readonly signer?: Signer | undefined;
  /** URI of an Ed25519 key in a token (RFC 7512), in the place of the key in the log's folder. */
  readonly key?: string | undefined;
}

/** An open log. */
export interface OpenedLog {
  readonly chain: LogChain;
  readonly key: AuditKey;
  readonly signer: Signer;
  /** Bytes of the file of checkpoints. */
  readonly noteBytes: number;
  /** The newest checkpoint; undefined where there is none yet. */
  readonly newest: SignedHead | undefined;
  /** The name of the file where an incomplete line is kept now. */
  readonly torn: string | undefined;
  /** Lets other processes open the log, and gives the key's token back. */
  readonly release: () => void;
}

/** Opens a log, and locks it. Rejects with {@linkcode LogUnusable}. */
export async function openLog(options: LogOptions, at: Date): Promise<OpenedLog> {
  const { dir, key: uri } = options;
  let lock: FileLock | undefined;
  let token: Pkcs11Signer | undefined;
  const release = () => {
    token?.end();
    lock?.close();
  };
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    lock = lockLog(dir);
    if (options.signer === undefined && uri !== undefined) {
      token = await openPkcs11Signer(uri, { spki: knownKey(dir) });
      const failure = token.failure();
      if (failure !== undefined && !passing.has(failure.code)) throw failure;
    }
    const signer = options.signer ?? token ?? await ownSigner(dir);
    return { ...openLocked(options, signer, at), release };
  } catch (error) {
    release();
    if (error instanceof LogUnusable) throw error;
    throw new LogUnusable({
      dir,
      problem: "unreadable",
      detail: error instanceof Error ? error.message : String(error),
    });
  }
}

function lockLog(dir: string): FileLock {
  try {
    return lockFile(lockPath(dir));
  } catch (error) {
    if (!isLocked(error)) throw error;
    const detail = "another process writes to it. End that process, or give this one a folder of its own";
    throw new LogUnusable({ dir, problem: "locked", detail });
  }
}

function openLocked({ dir, node }: LogOptions, signer: Signer, at: Date): Omit<OpenedLog, "release"> {
  const key = takeKey(dir, node, signer);
  const { newest, noteBytes, state, torn } = findEnd(dir, key);
  const aside = torn === undefined ? undefined : moveAside(dir, torn);
  const chain = state === undefined ? beginChain(node, key, at) : new LogChain(state);
  if (state !== undefined) chain.append({ type: "log.continued", outcome: "done" }, at);
  if (aside !== undefined) chain.append({ type: "log.recovered", outcome: "done", detail: { ...aside } }, at);
  return { chain, key, signer, noteBytes, newest, torn: aside?.file };
}

const beginChain = (node: string, key: AuditKey, at: Date): LogChain =>
  LogChain.begin(node, { random: randomBytes(16).toString("hex"), key: formatAuditKey(key), at });

async function ownSigner(dir: string): Promise<Signer> {
  const path = keyPath(dir);
  const text = readKeyFile(dir, path);
  if (text !== undefined) {
    try {
      return fileSigner(text);
    } catch (error) {
      throw new Error(`${basename(path)}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
  const { keyPem } = await makeSigningKey();
  writeKeyFile(dir, path, keyPem);
  return fileSigner(keyPem);
}

/** The public half of the key that the log began with: while the key's token is away, records are written and wait for their checkpoint. */
function knownKey(dir: string): Buffer | undefined {
  const key = parseAuditKey(readKeyFile(dir, verifierKeyPath(dir))?.trim() ?? "");
  return key === undefined ? undefined : spkiOf(key);
}

/** The key by the name that the log began with. */
function takeKey(dir: string, node: string, signer: Signer): AuditKey {
  const unusable = (detail: string) => new LogUnusable({ dir, problem: "key", detail });
  const path = verifierKeyPath(dir);
  const text = readKeyFile(dir, path)?.trim();
  if (text === "") throw unusable(`${basename(path)} is empty. Restore it from a copy`);
  const name = text === undefined ? originOf(node) : parseAuditKey(text)?.name ?? "";
  const key = auditKeyOf(name, signer);
  if (key === undefined) throw unusable("the key of its checkpoints is no Ed25519 key");
  const own = formatAuditKey(key);
  if (text === undefined) writeKeyFile(dir, path, `${own}\n`);
  else if (text !== own) throw unusable(`${basename(path)} is not of the key that signs its checkpoints`);
  return key;
}

/** Undefined where there is none. A log without records needs no empty one, which an older version may have left. */
function readKeyFile(dir: string, path: string): string | undefined {
  try {
    const text = readFileSync(path, "utf8");
    return text === "" && isUnused(dir) ? undefined : text;
  } catch (error) {
    if ((error as { readonly code?: unknown }).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Whether no key has signed a checkpoint of the log, and no record names one. */
function isUnused(dir: string): boolean {
  const segments = listSegments(dir).map(({ file }) => join(dir, file));
  return [checkpointsPath(dir), ...segments].every((path) => sizeOf(path) === 0);
}

/** Whole or not at all. No other process makes one: the log is locked. */
function writeKeyFile(dir: string, path: string, text: string): void {
  const aside = `${path}.tmp`;
  rmSync(aside, { force: true });
  const file = openSync(aside, "wx", 0o600);
  try {
    writeFileSync(file, text);
    fdatasyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(aside, path);
  syncFolderNow(dir);
}

function damaged(dir: string, detail: string): LogUnusable {
  const remedy = `Verify it: hypha-certutil audit verify ${shellWord(dir)}. ` +
    "Restore the files from a copy, or move the folder away to begin another log";
  return new LogUnusable({ dir, problem: "damaged", detail: `${detail}. ${remedy}` });
}

interface LogEnd {
  readonly newest: SignedHead | undefined;
  readonly noteBytes: number;
  readonly state: LogState | undefined;
  readonly torn: TornLine | undefined;
}

/** Where the state at the newest checkpoint is kept, nothing before it is read: `audit verify` reads all. */
function findEnd(dir: string, key: AuditKey): LogEnd {
  const path = checkpointsPath(dir);
  const newest = readNewestCheckpoint(path, key);
  const from = newest === undefined ? undefined : readEdge(dir, newest);
  if (newest === undefined || from === undefined || isRemoved(dir, from.segment)) return readAll(dir, key);
  cutFile(path, newest.bytes);
  if (sizeOf(join(dir, segmentFile(from.segment))) < from.offset) {
    throw damaged(dir, `records before the newest checkpoint were cut off ${segmentFile(from.segment)}`);
  }
  const walked = walkLog(dir, { from });
  if (walked instanceof AuditFinding) throw damaged(dir, walked.message);
  return { ...walked, newest, noteBytes: newest.bytes };
}

const isRemoved = (dir: string, segment: number): boolean =>
  listSegments(dir).some(({ first, kind }) => first === segment && kind === "leaves");

function readAll(dir: string, key: AuditKey): LogEnd {
  const path = checkpointsPath(dir);
  const read = readCheckpoints(path, key);
  if (read instanceof AuditFinding) throw damaged(dir, read.message);
  const { checkpoints, bytes: noteBytes } = read;
  cutFile(path, noteBytes);
  const checks = new RootChecks(checkpoints);
  const walked = walkLog(dir, { onLeaf: (_, edge) => checks.at(edge) });
  if (walked instanceof AuditFinding) throw damaged(dir, walked.message);
  if (checks.next !== undefined) throw damaged(dir, `it has fewer records than its checkpoint of ${checks.next.size}`);
  return { ...walked, newest: checkpoints.at(-1), noteBytes };
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function moveAside(dir: string, { file, offset }: TornLine): { readonly file: string; readonly bytes: number } {
  const path = join(dir, file);
  const rest: Buffer = readFileSync(path).subarray(offset);
  const aside = file.replace(/jsonl$/, "torn");
  appendFileSync(join(dir, aside), Buffer.concat([rest, Buffer.from("\n")]), { mode: 0o600, flush: true });
  cutFile(path, offset);
  return { file: aside, bytes: rest.length };
}
