/**
 * `npm run diagrams`: a Mermaid state diagram of every machine that a network runs, in `docs/machines.md`; with `--check`
 * it only reports whether that page is current.
 *
 * @module
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { dirname } from "node:path";
import type { AnyStateMachine, AnyStateNode } from "xstate";
import { lateTrainingMachine } from "../actors/scheduler/late_training.ts";
import { enrolmentMachine } from "../actors/enrolment/enrolment.ts";
import { simulatedMachines, witnessMachines } from "../actors/simulation/mod.ts";
import { isToCheck } from "./program/check_flag.ts";

const check = isToCheck("diagrams");
const page = fileURLToPath(new URL("../docs/machines.md", import.meta.url));

interface Transition {
  readonly source: AnyStateNode;
  readonly eventType: string;
  readonly target: readonly AnyStateNode[] | undefined;
}

/** The whole page. */
function textOf(machines: readonly AnyStateMachine[]): string {
  const parts = machines.map((machine) => `## ${machine.id}\n\n\`\`\`mermaid\n${diagramOf(machine)}\n\`\`\`\n`);
  const head =
    "# The machines\n\nMade by `npm run diagrams`; a test fails when it is out of date. The diagrams leave out " +
    "events that a state handles without leaving it.\n";
  return [head, ...parts].join("\n");
}

function diagramOf(machine: AnyStateMachine): string {
  const lines = ["stateDiagram-v2"];
  describe(machine.root, lines, "  ");
  const arrows = transitionsOf(machine.root).flatMap(({ source, eventType, target }) =>
    (target ?? []).map((to) => `  ${nameOf(source)} --> ${nameOf(to)}: ${labelOf(eventType)}`)
  );
  return [...lines, ...new Set(arrows)].join("\n");
}

/** States inside states; a final one leads out. */
function describe(node: AnyStateNode, lines: string[], indent: string): void {
  const initial = Object.values(node.states).find((child) => child === node.initial?.target?.[0]);
  if (initial !== undefined) lines.push(`${indent}[*] --> ${nameOf(initial)}`);
  for (const child of Object.values(node.states)) {
    if (Object.keys(child.states).length > 0) {
      lines.push(`${indent}state "${child.key}" as ${nameOf(child)} {`);
      describe(child, lines, `${indent}  `);
      lines.push(`${indent}}`);
    } else {
      lines.push(`${indent}state "${child.key}" as ${nameOf(child)}`);
      if (child.type === "final") lines.push(`${indent}${nameOf(child)} --> [*]`);
    }
  }
}

function transitionsOf(node: AnyStateNode): readonly Transition[] {
  const own = [...node.transitions.values()].flat() as readonly Transition[];
  const always = (node.always ?? []) as readonly Transition[];
  const below = Object.values(node.states).flatMap((child) => transitionsOf(child as AnyStateNode));
  // The machine itself has no box: its transitions are drawn from each of its states.
  const outer = node.parent === undefined
    ? Object.values(node.states).flatMap((child) => own.map((transition) => ({ ...pick(transition), source: child })))
    : own;
  return [...outer, ...always, ...below];
}

const pick = ({ source, eventType, target }: Transition): Transition => ({ source, eventType, target });

const nameOf = (node: AnyStateNode): string => node.id.replace(/[^A-Za-z0-9]/g, "_");

/** xstate's own words for timers and children, in ours. */
function labelOf(eventType: string): string {
  const after = /^xstate\.after\.([^.]+)/.exec(eventType)?.[1];
  if (after !== undefined) return `after ${after}`;
  if (eventType === "") return "always";
  if (eventType === "*") return "anything else";
  return eventType.replace(/^xstate\.done\.actor\./, "done ").replace(/^xstate\.error\.actor\./, "error of ");
}

const text = textOf([...simulatedMachines, ...witnessMachines, enrolmentMachine, lateTrainingMachine]);
const isCurrent = existsSync(page) && readFileSync(page, "utf8") === text;
if (check) {
  process.stdout.write(
    isCurrent ? "docs/machines.md is current\n" : "docs/machines.md is out of date: npm run diagrams\n",
  );
  process.exitCode = isCurrent ? 0 : 1;
} else if (!isCurrent) {
  mkdirSync(dirname(page), { recursive: true });
  writeFileSync(page, text);
  process.stdout.write("wrote docs/machines.md\n");
}
