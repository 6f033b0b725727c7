/**
 * The doctor on a node's key (specification: "Secure Storage", "Key Format Errors").
 *
 * @module
 */
import { Result } from "effect";
import { parsePrivateKey, type PrivateKey } from "../../../pki/key.ts";
import { doubtful, type Finding, fine, wrong } from "./finding.ts";
import type { NodeFile } from "./node_file.ts";
import { shellWord } from "../../files/shell_word.ts";

/** What was found, and the key where there is one. */
export interface KeyExamined {
  readonly findings: readonly Finding[];
  readonly key: PrivateKey | undefined;
}

/** Examines permissions, format and algorithm. `another`: how the node gets another key. */
export function examineKey(
  { path, text, mode }: NodeFile,
  { allowed, another }: { readonly allowed: readonly string[]; readonly another: string },
): KeyExamined {
  const octal = mode.toString(8).padStart(4, "0");
  const permissions = (mode & 0o077) === 0
    ? fine("key-permissions", path, `only its owner can read it (mode ${octal})`)
    : wrong("key-permissions", path, `others can read or write it (mode ${octal})`, `chmod 600 ${shellWord(path)}`);
  const parsed = parsePrivateKey(text);
  if (Result.isFailure(parsed)) {
    const { detail, problem } = parsed.failure;
    return {
      findings: [permissions, wrong("key-format", path, detail, mendOf(problem, { path, another }))],
      key: undefined,
    };
  }
  const key = parsed.success;
  const format = fine("key-format", path, "PKCS#8, not encrypted");
  const algorithm = allowed.includes(key.algorithm) ? fine("key-algorithm", path, key.label) : wrong(
    "key-algorithm",
    path,
    `${key.label}, and peers take ${allowed.join(", ")}`,
    another,
  );
  return { findings: [permissions, format, algorithm], key };
}

function mendOf(problem: string, { path, another }: { readonly path: string; readonly another: string }): string {
  switch (problem) {
    case "encrypted":
      return `openssl pkcs8 -in ${shellWord(path)} -out NEW-KEY.pem && chmod 600 NEW-KEY.pem`;
    case "traditional-format":
      return `openssl pkcs8 -topk8 -nocrypt -in ${shellWord(path)} -out NEW-KEY.pem && chmod 600 NEW-KEY.pem`;
    default:
      return another;
  }
}

/** Every user may read certificates and lists; only the owner may write them. */
export function examineMode(check: string, { path, mode }: NodeFile): Finding {
  const octal = mode.toString(8).padStart(4, "0");
  if ((mode & 0o022) !== 0) {
    return wrong(check, path, `others can write it (mode ${octal})`, `chmod 644 ${shellWord(path)}`);
  }
  if ((mode & 0o444) === 0) {
    return doubtful(check, path, `no user can read it (mode ${octal})`, `chmod 644 ${shellWord(path)}`);
  }
  return fine(check, path, `mode ${octal}`);
}
