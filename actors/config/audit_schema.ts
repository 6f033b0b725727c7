/**
 * The schema of `[audit]`: where a node records what it decides.
 *
 * @module
 */
import { join } from "node:path";
import { Schema } from "effect";
import { durationMs, readDuration } from "./duration.ts";
import { readKeyUri } from "./key_uri.ts";
import { optional, path, readable } from "./notes.ts";
import { tomlOf } from "./settings.ts";

/** The default of the table's `keep`. The table itself has no default: without it a node keeps no audit log. */
export const auditDefault = { keep: "365d" } as const;
const keepMinMs = 24 * 3_600_000;

/** `[audit]` as the programs see it. */
export interface AuditConfig {
  /** Folder of the log; `audit` in the state directory where undefined. */
  readonly dir: string | undefined;
  /** How long records are kept, in milliseconds. */
  readonly keepMs: number;
  /** URI of the key of the checkpoints in a token; a key in the folder of the log where undefined. */
  readonly key: string | undefined;
}

/** `[audit]`. */
export const audit = Schema.Struct({
  dir: optional(
    path(
      "Folder of the audit log (docs/audit.md).",
      '"audit"',
      "the path of a directory",
      "`audit` in `state_dir`",
    ),
  ),
  keep: optional(
    readable(readKeep, {
      expected: "a duration of at least 1d, such as 365d",
      example: tomlOf(auditDefault.keep),
      description: "How long records are kept. Older files are removed whole; hashes of their records stay.",
      standard: tomlOf(auditDefault.keep),
    }),
  ),
  key: optional(
    readable(readKeyUri, {
      expected:
        "the URI of a key in a PKCS#11 token, such as pkcs11:token=acme;object=audit?module-path=/PATH/MODULE.so",
      example: tomlOf(
        "pkcs11:token=acme;object=audit?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/hypha/pin",
      ),
      description: "Key that signs the checkpoints, Ed25519, in a token (docs/hardware-keys.md).",
      standard: "a key in `dir`",
      secret: true,
    }),
  ),
});

/** Gives the decoded table its type. */
export function typeAudit({ dir, keep, key }: (typeof audit)["Type"]): AuditConfig {
  return { dir, keepMs: durationMs(keep ?? auditDefault.keep), key };
}

/** The folder of a node's log. */
export function auditFolder({ dir }: AuditConfig, stateDir: string): string {
  return dir ?? join(stateDir, "audit");
}

function readKeep(text: string): number | string {
  const ms = readDuration(text);
  if (typeof ms === "string") return ms;
  return ms >= keepMinMs ? ms : "is less than 1d";
}
