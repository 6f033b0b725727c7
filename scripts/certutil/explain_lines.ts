/**
 * The text output of `explain`.
 *
 * @module
 */
import type { ExplainedAct, Explanation } from "../../actors/certutil/explain.ts";
import { rowOf } from "../../transport/authorization/acts.ts";

/** One act with its reason, or a table of all of them. */
export function explanationLines(explanation: Explanation, form: "act" | "table"): readonly string[] {
  const { node, acts, hint, warnings } = explanation;
  const more = [...(hint === null ? [] : [`  ${hint}`]), ...warnings.map((warning) => `warning: ${warning}`)];
  const [first] = acts;
  if (first === undefined) return more;
  if (form === "act") return [...actLines(first, node), ...more];
  if (first.by === "gate") return [`denied: every act by gate (${first.code})`, `  ${first.reason}`, ...more];
  const width = Math.max(...acts.map(({ act }) => act.length));
  const rows = acts.map(({ allowed, act, by }) =>
    `  ${allowed ? "allowed" : "denied "}  ${act.padEnd(width)}  ${by.padEnd(width + 4)}  ${rowOf(act).what}`
  );
  return [`${whoOf(first)} at a ${nodeNames[node]}`, ...rows, ...warnings.map((warning) => `warning: ${warning}`)];
}

const nodeNames = { gateway: "gateway", scheduler: "scheduler", worker: "worker", data: "data node" } as const;

const whoOf = ({ name, role }: ExplainedAct): string =>
  `${name} (${role === null ? "its certificate names no role" : `role ${role}`})`;

function actLines(explained: ExplainedAct, node: Explanation["node"]): readonly string[] {
  const { allowed, act, by, code, reason } = explained;
  if (!allowed) return [`denied: ${act} by ${by}${by === "gate" ? ` (${code})` : ""}`, `  ${reason}`];
  return [`allowed: ${act} by ${by}`, `  ${whoOf(explained)} may do this at a ${nodeNames[node]}: ${rowOf(act).what}`];
}
