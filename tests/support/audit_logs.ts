/**
 * Audit logs on disk, for tests.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AuditLog } from "../../actors/audit/audit_log.ts";
import { leafHash } from "../../actors/audit/merkle_tree.ts";
import { openLog } from "../../actors/audit/open_log.ts";
import { segmentFile } from "../../actors/audit/segments.ts";

/** The node whose log it is. */
export const logNode = "spiffe://acme.example/gateway/gateway-01";
/** When the records begin. */
export const logStart = Date.UTC(2026, 0, 31, 12);

/** Runs a test with an empty folder, which is removed then. */
export async function withLogFolder(work: (dir: string) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "hypha-audit-"));
  try {
    await work(dir);
  } finally {
    await remove(dir);
  }
}

/** Removes the folder, more than once if need be: a log that ended while it was being opened may still make a file in it. */
async function remove(dir: string): Promise<void> {
  for (let attempts = 5; attempts > 0; attempts--) {
    const isGone = await rm(dir, { recursive: true, force: true }).then(() => true, () => false);
    if (isGone) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  await rm(dir, { recursive: true, force: true });
}

/** Opens a log. */
export async function openTestLog(dir: string, at: number = logStart): Promise<AuditLog> {
  const opened = await openLog({ dir, node: logNode }, new Date(at));
  return new AuditLog(dir, opened, { at: new Date(at), onWaiting: () => {} });
}

/** Writes what waits, and a checkpoint of it. */
export async function writeCovered(log: AuditLog, at: Date): Promise<void> {
  await log.write();
  await log.cover(at);
}

/** Removes the records of a segment, and leaves their hashes. */
export async function removeRecords(dir: string, first: number): Promise<void> {
  const path = join(dir, segmentFile(first));
  const lines = (await readFile(path, "utf8")).split("\n").slice(0, -1);
  await writeFile(
    join(dir, segmentFile(first, "leaves")),
    Buffer.concat(lines.map((line) => leafHash(Buffer.from(line)))),
  );
  await rm(path);
}

/** Records some refusals, a second apart. */
export function recordRefusals(log: AuditLog, count: number, at: number = logStart): void {
  for (let index = 0; index < count; index++) {
    const detail = { address: `/ip4/127.0.0.1/tcp/${4_000 + index}`, index };
    log.record(
      { type: "refusal", outcome: "unknown-issuer", peer: `worker-${index}`, detail },
      new Date(at + index * 1_000),
    );
  }
}

/** Puts a folder in a file's place: no write succeeds, not even root's. Returns what puts the file back. */
export async function blockWrites(dir: string, name: string = segmentFile(0)): Promise<() => Promise<void>> {
  const path = join(dir, name);
  const content = await readFile(path).catch(() => undefined);
  await rm(path, { force: true });
  await mkdir(path);
  return async () => {
    await rm(path, { recursive: true });
    if (content !== undefined) await writeFile(path, content);
  };
}

/** The files of a folder that this process has open; undefined where the system does not tell. */
export function openIn(dir: string): readonly string[] | undefined {
  const own = "/proc/self/fd";
  if (!existsSync(own)) return undefined;
  const paths = readdirSync(own).map((each) => {
    try {
      return readlinkSync(join(own, each));
    } catch {
      return ""; // that of the listing itself
    }
  });
  return paths.filter((path) => path.startsWith(`${dir}/`)).map((path) => path.slice(dir.length + 1));
}
