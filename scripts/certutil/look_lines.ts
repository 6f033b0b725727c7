/**
 * The text output of `inspect` and `verify`.
 *
 * @module
 */
import type { Diagnosis } from "../../actors/certutil/doctor.ts";
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

/** A verdict: the path from the leaf to the anchor, or the refusal with its hint. */
export function verdictLines(verdict: Verdict): readonly string[] {
  const { ok, code, path, reason, hint, peer, warnings } = verdict;
  const warningLines = warnings.map((warning) => `warning: ${warning}`);
  const checked = [
    "checks",
    ...verdict.checks.map((step) => `  ${step.ok ? "ok     " : "refused"}  ${step.check.padEnd(10)}  ${step.detail}`),
  ];
  if (!ok) {
    const tried = verdict.tried.length === 0 ? [] : [`  path tried: ${verdict.tried.join(" ← ")}`];
    return [`refused: ${code}`, `  ${reason}`, `  ${hint}`, ...tried, ...checked, ...warningLines];
  }
  const steps = path.map(({ subject, serial, notAfter }, index) => {
    const place = index === path.length - 1 ? "anchor" : index === 0 ? "leaf" : "issuer";
    return `  ${place.padEnd(6)}  ${subject}  serial ${serial}  until ${notAfter}`;
  });
  const who = peer === null ? [] : [`  peer    ${peer.id}${peer.role === null ? "" : `  role ${peer.role}`}`];
  return ["accepted", ...steps, ...who, ...checked, ...warningLines];
}

/** A diagnosis: one line for each finding, with its repair below. */
export function diagnosisLines({ ok, role, peer, findings }: Diagnosis): readonly string[] {
  const marks = { ok: "ok", warning: "warn", error: "WRONG" } as const;
  const lines = findings.flatMap(({ check, level, file, detail, mend }) => [
    `${marks[level].padEnd(5)}  ${check.padEnd(23)}  ${file === null ? "" : `${file}: `}${detail}`,
    ...(mend === null ? [] : [`       ${" ".repeat(23)}  → ${mend}`]),
  ]);
  const wrong = findings.filter(({ level }) => level === "error").length;
  const doubtful = findings.filter(({ level }) => level === "warning").length;
  const who = `${role ?? "no role"}${peer === null ? "" : `, ${peer}`}`;
  const warnings = `${doubtful} ${doubtful === 1 ? "warning" : "warnings"}`;
  const result = !ok ? `${wrong} wrong, ${warnings}` : doubtful > 0 ? `no error, ${warnings}` : "nothing is wrong";
  return [...lines, `${result} (${who})`];
}
