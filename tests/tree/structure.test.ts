/**
 * The structural test over all machines, and the proof that it can fail.
 *
 * @module
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type AnyStateMachine, createMachine, setup, StateMachine } from "xstate";
import { connectionGateMachine } from "../../actors/gate/connection_gate.ts";
import { nodesOf, safeStates, structuralFindings } from "../support/structure.ts";

const actors = fileURLToPath(new URL("../../actors/", import.meta.url));

/** Every machine that a file below actors/ exports, by file and name. */
async function discover(folder: string): Promise<[name: string, machine: AnyStateMachine][]> {
  const found: [string, AnyStateMachine][] = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) found.push(...await discover(path));
    else if (entry.name.endsWith(".ts") && readFileSync(path, "utf8").includes("createMachine(")) {
      const exported = await import(pathToFileURL(path).href) as Record<string, unknown>;
      for (const [name, value] of Object.entries(exported)) {
        if (value instanceof StateMachine) found.push([`${entry.name} ${name}`, value as AnyStateMachine]);
      }
    }
  }
  return found;
}

const test = suite("structure of the machines");

test("every machine of actors/ is as a machine has to be", async () => {
  const machines = await discover(actors);
  const names = machines.map(([name]) => name);
  for (const file of ["connection_gate", "trust_store", "identity", "refusal_log"]) {
    assert.ok(names.some((name) => name.startsWith(`${file}.ts`)), `${file}.ts was found among ${names}`);
  }
  const findings = machines.flatMap(([name, machine]) => structuralFindings(machine).map((line) => `${name}: ${line}`));
  assert.equal(findings, []);
});

test("every file with a machine exports it, so that none escapes the test", async () => {
  const silent: string[] = [];
  for (const name of readdirSync(actors).filter((file) => file.endsWith(".ts"))) {
    const path = join(actors, name);
    if (!existsSync(path) || !readFileSync(path, "utf8").includes("createMachine(")) continue;
    const exported = await import(pathToFileURL(path).href) as Record<string, unknown>;
    if (!Object.values(exported).some((value) => value instanceof StateMachine)) silent.push(name);
  }
  assert.equal(silent, []);
});

test("the connection gate says which of its states are safe", () => {
  assert.equal(safeStates(connectionGateMachine), ["refused", "closed"]);
});

/** A place in a configuration: the keys that lead to it. */
type Place = readonly (string | number)[];

/** Every guarded list of a configuration. */
function guardedLists(config: unknown, place: Place = []): Place[] {
  if (Array.isArray(config) && config.some((way) => way !== null && typeof way === "object" && "guard" in way)) {
    return [place];
  }
  if (config === null || typeof config !== "object") return [];
  return Object.entries(config).flatMap(([key, value]) => guardedLists(value, [...place, key]));
}

/** A copy of the configuration in which `change` took the place of what is there. */
function changedAt(config: unknown, [key, ...rest]: Place, change: (there: unknown) => unknown): unknown {
  if (key === undefined) return change(config);
  const there = config as Record<string, unknown>;
  return { ...there, [key]: changedAt(there[key], rest, change) };
}

const rebuilt = (config: unknown): AnyStateMachine =>
  createMachine(config as never, connectionGateMachine.implementations as never) as unknown as AnyStateMachine;

test("a guard without its fallback fails the structural test, whichever it is", () => {
  const lists = guardedLists(connectionGateMachine.config);
  assert.ok(lists.length >= 18, `${lists.length} guarded lists`);
  for (const place of lists) {
    const broken = changedAt(connectionGateMachine.config, place, (list) => (list as unknown[]).slice(0, -1));
    assert.ok(structuralFindings(rebuilt(broken)).length > 0, `${place.join(".")} without its last way`);
  }
});

test("a fallback that leads to an unsafe state fails the structural test", () => {
  for (const place of guardedLists(connectionGateMachine.config)) {
    const astray = changedAt(connectionGateMachine.config, place, (list) => {
      const ways = list as { target?: string }[];
      return [...ways.slice(0, -1), { ...ways.at(-1), target: "#connectionGate.established" }];
    });
    assert.ok(structuralFindings(rebuilt(astray)).length > 0, `${place.join(".")} leads to established`);
  }
});

test("a state that waits without a deadline fails the structural test", () => {
  const config = connectionGateMachine.config as unknown as { states: Record<string, { after?: unknown }> };
  for (const state of ["handshaking", "opening", "established"]) {
    const patient = changedAt(config, ["states", state, "after"], () => undefined);
    assert.ok(structuralFindings(rebuilt(patient)).length > 0, `${state} without its deadline`);
  }
});

test("an unnamed, unknown or async guard fails the structural test", () => {
  const inline = setup({}).createMachine({
    initial: "a",
    states: { a: { on: { go: { guard: () => true, target: "b" } } }, b: {} },
  });
  const asynchronous = createMachine(
    { initial: "a", states: { a: { on: { go: { guard: "late", target: "b" } } }, b: {} } },
    { guards: { late: (() => async () => await Promise.resolve(false))() as never } },
  );
  const unknown = createMachine({ initial: "a", states: { a: { on: { go: { guard: "gone", target: "b" } } }, b: {} } });
  for (const machine of [inline, asynchronous, unknown]) {
    assert.is(structuralFindings(machine as unknown as AnyStateMachine).length, 1);
  }
});

test("the connection gate's own structure is whole", () => {
  assert.equal(structuralFindings(connectionGateMachine), []);
  assert.equal(structuralFindings(rebuilt(connectionGateMachine.config)), []);
  assert.ok(nodesOf(connectionGateMachine).length > 25);
});

test.run();
