/**
 * Verifies a log from its files.
 *
 * Finds each change that its owner's key did not sign: edited, removed, inserted and moved lines, missing segments, and lines cut off
 * before the last checkpoint. What the owner of the key rewrites, and lines cut off together with their checkpoints, only a witness finds
 * that knows an earlier checkpoint.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { type AuditKey, parseAuditKey } from "./checkpoint.ts";
import { AuditFinding } from "./finding.ts";
import { type FoundCheckpoint, readCheckpoints } from "./read_checkpoints.ts";
import { RootChecks } from "./root_checks.ts";
import { checkpointsPath, segmentFile, verifierKeyPath } from "./segments.ts";
import { type TornLine, walkLog } from "./walk_log.ts";

/** A log in order. */
export interface VerifiedLog {
  readonly origin: string;
  readonly records: number;
  /** Records that were removed because of their age: the first ones. Their leaf hashes are there. */
  readonly removed: number;
  /** Records that the last checkpoint covers; the others are held by their chain alone. */
  readonly covered: number;
  readonly checkpoints: number;
  /** Times of the first and the last record that is there; undefined where there is none. */
  readonly first: string | undefined;
  readonly last: string | undefined;
  /** An incomplete last line: a crash left it, or it is being written. */
  readonly torn: TornLine | undefined;
}

/** Reads the verifier key that a log's folder holds. */
export function readVerifierKey(dir: string): AuditKey | AuditFinding {
  const path = verifierKeyPath(dir);
  const found = (code: AuditFinding["code"], detail: string) =>
    new AuditFinding({ code, file: basename(path), line: undefined, detail });
  try {
    return parseAuditKey(readFileSync(path, "utf8").trim()) ?? found("malformed", "it is no verifier key");
  } catch (error) {
    return found("unreadable", `it cannot be read (${error instanceof Error ? error.message : String(error)})`);
  }
}

/**
 * Verifies every line, the order of all segments, and the root of every checkpoint.
 *
 * @param witnessed Checkpoints that a witness keeps, or the path of a file with them; the log must hold what they cover too.
 */
export function verifyLog(
  dir: string,
  key: AuditKey,
  witnessed?: string | readonly FoundCheckpoint[],
): VerifiedLog | AuditFinding {
  // Before the records: those of a running node only become more.
  const read = readCheckpoints(checkpointsPath(dir), key);
  if (read instanceof AuditFinding) return read;
  const known = typeof witnessed === "string"
    ? readCheckpoints(witnessed, key, "any")
    : { checkpoints: witnessed ?? [] };
  if (known instanceof AuditFinding) return known;
  if (typeof witnessed === "string" && known.checkpoints.length === 0) {
    const detail = "it holds no checkpoint: nothing is compared";
    return new AuditFinding({ code: "unreadable", file: basename(witnessed), line: undefined, detail });
  }
  const checks = new RootChecks([...read.checkpoints, ...known.checkpoints]);
  let first: string | undefined;
  let [records, kept] = [0, 0];
  const walked = walkLog(dir, {
    onRecord: ({ record }) => {
      first ??= record.ts;
      kept += 1;
    },
    onLeaf: (_, edge) => {
      records = edge.size;
      return checks.at(edge);
    },
  });
  if (walked instanceof AuditFinding) return walked;
  const { state, torn } = walked;
  const cut = checks.atEnd(records);
  if (cut !== undefined) return cut;
  if (records === 0) return noLog();
  const { checkpoints } = read;
  const covered = checkpoints.at(-1)?.size ?? 0;
  return {
    origin: key.name,
    records,
    removed: records - kept,
    covered,
    checkpoints: checkpoints.length,
    first,
    last: state?.ts,
    torn,
  };
}

/** The folder has no record. */
export function noLog(): AuditFinding {
  const detail = "it is missing, or has no record: the folder holds no log";
  return new AuditFinding({ code: "segment", file: segmentFile(0), line: undefined, detail });
}
