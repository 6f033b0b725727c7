/**
 * Signed checkpoints of a log: its origin, size and root as a signed note (C2SP tlog-checkpoint and signed-note, Ed25519).
 *
 * ```
 * acme.example/audit/gateway/gateway-01
 * 4711
 * CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
 *
 * — acme.example/audit/gateway/gateway-01 Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
 * ```
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPublicKey, hash, verify } from "node:crypto";
import type { Signer } from "../../pki/issue/signer.ts";
import { sameBytes } from "../../pki/bytes.ts";

/** A log's state: all that its owner signs. */
export interface TreeHead {
  readonly origin: string;
  /** Records in it. */
  readonly size: number;
  /** Root of the tree of their lines. */
  readonly root: Uint8Array;
}

/** A log's state with its owner's signature. */
export interface SignedHead extends TreeHead {
  /** The signed note. */
  readonly note: string;
}

/** The public key that checkpoints of a log are signed with. */
export interface AuditKey {
  /** Name in the signature's line: the log's origin. */
  readonly name: string;
  /** Ed25519, 32 bytes. */
  readonly raw: Uint8Array;
}

/** SubjectPublicKeyInfo of an Ed25519 key, up to the key's 32 bytes (RFC 8410 §4). */
const ed25519Prefix = Buffer.from("302a300506032b6570032100", "hex");
/** The algorithm's number in signed notes. */
const ed25519Note = 1;
/** Characters of a note; a name is at most 2 kB long. */
export const noteCharactersMax = 8_192;

/** The Ed25519 key of a signer; undefined where its key is of another algorithm. */
export function auditKeyOf(name: string, signer: Pick<Signer, "spki">): AuditKey | undefined {
  const spki = signer.spki();
  if (spki.length !== 44 || !sameBytes(spki.subarray(0, 12), ed25519Prefix)) return undefined;
  return { name, raw: spki.subarray(12) };
}

/** DER of a key (SubjectPublicKeyInfo). */
export const spkiOf = ({ raw }: Pick<AuditKey, "raw">): Buffer => Buffer.concat([ed25519Prefix, raw]);

function keyId({ name, raw }: AuditKey): Buffer {
  return hash("sha256", Buffer.concat([Buffer.from(`${name}\n`), Buffer.of(ed25519Note), raw]), "buffer").subarray(
    0,
    4,
  );
}

/** A verifier key: `NAME+ID+KEY`, as `sumdb/note` has it. */
export function formatAuditKey(key: AuditKey): string {
  const encoded = Buffer.concat([Buffer.of(ed25519Note), key.raw]).toString("base64");
  return `${key.name}+${keyId(key).toString("hex")}+${encoded}`;
}

/** Reads a verifier key; undefined where it is none, or its number is not its key's. */
export function parseAuditKey(text: string): AuditKey | undefined {
  const [, name = "", id = "", encoded = ""] = /^([^\s+]{1,2048})\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$/.exec(text) ??
    [];
  const bytes = Buffer.from(encoded, "base64");
  if (bytes[0] !== ed25519Note) return undefined;
  const key = { name, raw: bytes.subarray(1) };
  return keyId(key).toString("hex") === id ? key : undefined;
}

/** A name that signed notes take: spaces and `+` separate their parts. */
export function originOf(node: string): string {
  const [, domain, path] = /^spiffe:\/\/([^/]+)\/(.+)$/.exec(node) ?? [];
  const name = domain === undefined ? `audit/${node}` : `${domain}/audit/${path}`;
  return name.toWellFormed().replace(/[^\w./:@=-]/gu, (each) => encodeURIComponent(each)).slice(0, 2_048);
}

function textOf({ origin, size, root }: TreeHead): string {
  return `${origin}\n${size}\n${Buffer.from(root).toString("base64")}\n`;
}

/** Signs a log's state. Rejects when the key cannot be used now. */
export async function signCheckpoint(head: TreeHead, key: AuditKey, signer: Pick<Signer, "sign">): Promise<string> {
  const signature = await signer.sign(Buffer.from(textOf(head)));
  return composeCheckpoint(head, key, () => signature);
}

/** The note of a log's state with its signature. */
export function composeCheckpoint(head: TreeHead, key: AuditKey, sign: (text: Uint8Array) => Uint8Array): string {
  const text = textOf(head);
  const signed = Buffer.concat([keyId(key), sign(Buffer.from(text))]).toString("base64");
  return `${text}\n\u2014 ${key.name} ${signed}\n`;
}

/** What is wrong with a checkpoint. */
export type CheckpointProblem = "malformed" | "unsigned" | "forged";

/** Reads a checkpoint and verifies the signature of one key; signatures of others are passed over. */
export function openCheckpoint(note: string, key: AuditKey): TreeHead | CheckpointProblem {
  const opened = openSignedHead(note, key);
  if (typeof opened === "string") return opened;
  const { origin, size, root } = opened;
  return { origin, size, root };
}

/** As {@linkcode openCheckpoint}, with a note that has the signature of that key alone. */
export function openSignedHead(note: string, key: AuditKey): SignedHead | CheckpointProblem {
  if (note.length > noteCharactersMax) return "malformed";
  const [, origin = "", size = "", root = "", lines = ""] =
    /^([^\n]+)\n(0|[1-9]\d{0,15})\n([A-Za-z0-9+/]{43}=)\n\n((?:\u2014 [^\s+]+ [A-Za-z0-9+/]+={0,2}\n)+)$/.exec(note) ??
      [];
  const head: TreeHead = { origin, size: Number(size), root: Buffer.from(root, "base64") };
  if (origin === "" || !Number.isSafeInteger(head.size)) return "malformed";
  // A decoder ignores the unused bits of a last character: one value has one text.
  if (textOf(head) !== note.slice(0, note.indexOf("\n\n") + 1)) return "malformed";
  const id = keyId(key);
  let problem: CheckpointProblem = "unsigned";
  for (const line of lines.split("\n").slice(0, -1)) {
    const [, name, encoded = ""] = line.split(" ");
    const bytes = Buffer.from(encoded, "base64");
    if (name !== key.name || !sameBytes(bytes.subarray(0, 4), id)) continue;
    if (bytes.toString("base64") !== encoded) return "malformed";
    if (isSigned(textOf(head), bytes.subarray(4), key)) return { ...head, note: `${textOf(head)}\n${line}\n` };
    problem = "forged";
  }
  return problem;
}

function isSigned(text: string, signature: Uint8Array, auditKey: AuditKey): boolean {
  try {
    const key = createPublicKey({ key: spkiOf(auditKey), format: "der", type: "spki" });
    return verify(null, Buffer.from(text), key, Buffer.from(signature));
  } catch {
    return false;
  }
}
