/**
 * What `inspect` and `verify` print for people.
 *
 * @module
 */
import type { Inspection } from "../../actors/certutil/inspect.ts";
import type { Verdict } from "../../actors/certutil/verify.ts";

/** An inspection: a heading a block, its fields below. */
export function inspectionLines({ file, blocks }: Inspection): readonly string[] {
  return blocks.flatMap(({ kind, line, label, fields, error }) => [
    `${file}:${line}: ${kind === "unknown" ? label : kind}`,
    ...(error === undefined ? [] : [`  error: ${error}`]),
    ...Object.entries(fields).flatMap(([name, value]) => fieldLines(name, value)),
  ]);
}

function fieldLines(name: string, value: unknown): readonly string[] {
  if (value === null || (Array.isArray(value) && value.length === 0)) return [];
  if (!Array.isArray(value)) return [`  ${name}: ${String(value)}`];
  const rows = value.map((each) => typeof each === "object" ? Object.values(each as object).join("  ") : String(each));
  return rows.length === 1 ? [`  ${name}: ${rows[0]}`] : [`  ${name}:`, ...rows.map((row) => `    ${row}`)];
}

/** A verdict: the path from the leaf to the anchor, or the refusal with what to do. */
export function verdictLines(verdict: Verdict): readonly string[] {
  const { ok, code, path, reason, hint, peer, warnings } = verdict;
  const said = warnings.map((warning) => `warning: ${warning}`);
  if (!ok) return [`refused: ${code}`, `  ${reason}`, `  ${hint}`, ...said];
  const steps = path.map(({ subject, serial, notAfter }, index) => {
    const place = index === path.length - 1 ? "anchor" : index === 0 ? "leaf" : "issuer";
    return `  ${place.padEnd(6)}  ${subject}  serial ${serial}  until ${notAfter}`;
  });
  const who = peer === null ? [] : [`  peer    ${peer.id}${peer.role === null ? "" : `  role ${peer.role}`}`];
  return ["accepted", ...steps, ...who, ...said];
}
