/**
 * The machines as they are, with the state in which each is now.
 *
 * @module
 */
import { useEffect, useState } from "preact/hooks";
import type { MachineShape, StateShape } from "../machine_shape.ts";
import { ask } from "./connection.ts";
import { useShown } from "./store.ts";

/** A state value of xstate: a name, or names with what is below them. */
type Value = string | { readonly [name: string]: Value | undefined };

/** A machine in use: `states` are the paths of the states that it is in, `counts` how many are in each where there are many. */
interface InUse {
  readonly title: string;
  readonly shape: MachineShape | undefined;
  readonly states: ReadonlySet<string>;
  readonly counts: Readonly<Record<string, number>>;
}

/** The paths of all states in a value: `running`, `running.ready`. */
function pathsIn(value: Value | undefined, before = ""): readonly string[] {
  if (value === undefined) return [];
  if (typeof value === "string") return [before + value];
  return Object.entries(value).flatMap(([name, below]) => [before + name, ...pathsIn(below, `${before}${name}.`)]);
}

/** The states of a machine, by the last part of their path, as gates name them. */
function countsByPath(
  shape: MachineShape | undefined,
  counts: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> {
  const found: Record<string, number> = {};
  const walk = (states: readonly StateShape[], before: string) => {
    for (const { key, states: below } of states) {
      if (counts[key] !== undefined) found[before + key] = counts[key];
      walk(below, `${before}${key}.`);
    }
  };
  walk(shape?.states ?? [], "");
  return found;
}

/** The view. */
export function Machines() {
  const { parts: { machine, gates = {}, trainings } } = useShown();
  const [shapes, setShapes] = useState<readonly MachineShape[]>([]);
  const [chosen, choose] = useState(0);
  useEffect(() => {
    void ask("/machines").then(({ status, body }) =>
      status === 200 && setShapes(body["machines"] as readonly MachineShape[])
    );
  }, []);
  const shape = (id: string) => shapes.find((each) => each.id === id);
  const gateCounts = countsByPath(shape("connectionGate"), gates);
  const all: readonly InUse[] = [
    {
      title: "Gate of connections",
      shape: shape("connectionGate"),
      states: new Set(Object.keys(gateCounts)),
      counts: gateCounts,
    },
    { title: "Node", shape: shape("node"), states: new Set(pathsIn(machine as Value)), counts: {} },
    ...(trainings ?? []).flatMap(({ id, name, machine }) =>
      machine === null ? [] : [{
        title: `Training ${name} (${id})`,
        shape: shape("training"),
        states: new Set(pathsIn(machine as Value)),
        counts: {},
      }]
    ),
  ];
  if (machine === undefined) {
    return (
      <>
        <h1>Machines</h1>
        <p class="hint">Machines are shown in the consoles of nodes.</p>
      </>
    );
  }
  const at = Math.min(chosen, all.length - 1);
  return (
    <>
      <h1>Machines</h1>
      <p class="hint">
        Drawn from the machines that run. A state with a frame is one that the machine is in now; a number is how many
        gates are in it.
      </p>
      <label>
        Machine{" "}
        <select value={at} onChange={({ currentTarget }) => choose(Number(currentTarget.value))}>
          {all.map(({ title }, index) => <option key={title} value={index}>{title}</option>)}
        </select>
      </label>
      {all[at] !== undefined && <Machine {...all[at]} />}
    </>
  );
}

function Machine({ title, shape, states, counts }: InUse) {
  if (shape === undefined) return <p>Reading the machine …</p>;
  return (
    <section aria-label={title} class="machine">
      <States states={shape.states} before="" lit={states} counts={counts} />
      {shape.leads.length > 0 && (
        <p class="hint">From every state: {shape.leads.map(({ on, to }) => `${on} → ${to}`).join("; ")}</p>
      )}
    </section>
  );
}

interface StatesProps {
  readonly states: readonly StateShape[];
  readonly before: string;
  readonly lit: ReadonlySet<string>;
  readonly counts: Readonly<Record<string, number>>;
}

function States({ states, before, lit, counts }: StatesProps) {
  return (
    <ul class="states">
      {states.map(({ key, type, isInitial, states: below, leads }) => {
        const path = `${before}${key}`;
        const isLit = lit.has(path);
        return (
          <li key={key} class={isLit ? "state lit" : "state"} aria-current={isLit ? "true" : undefined}>
            <strong>{key}</strong>
            {counts[path] !== undefined && <span class="count">{` ${counts[path]} now`}</span>}
            <span class="hint">
              {isInitial ? " first" : ""}
              {type === "final" ? " last" : ""}
              {type === "parallel" ? " parallel" : ""}
            </span>
            {below.length > 0 && <States states={below} before={`${path}.`} lit={lit} counts={counts} />}
            {leads.length > 0 && (
              <ul class="leads">
                {leads.map(({ on, to }) => <li key={`${on} ${to}`}>{on} → {to}</li>)}
              </ul>
            )}
          </li>
        );
      })}
    </ul>
  );
}
