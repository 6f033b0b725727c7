/**
 * `npm run simulate`: runs networks from seeds in virtual time, and reports which invariant was violated.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { allFaultKinds, type FaultKind, memberFaultKinds } from "../actors/simulation/mod.ts";
import type { BatchOptions } from "./simulate/batch.ts";
import { hunt, huntText } from "./simulate/hunt.ts";
import { memberFaultsOf, type MembersOptions, replayMember, simulateMembers } from "./simulate/members.ts";
import { NoScenario, readScenario } from "./simulate/read_scenario.ts";
import { replay } from "./simulate/replay.ts";
import { chooseScenario, simulate, type SimulateOptions, textOf } from "./simulate/simulate.ts";
import { runtimeOf, startUnder } from "./simulate/runtime.ts";
import { unreadFlag } from "./simulate/unread_flags.ts";
import { simulateWideRevocation } from "./simulate/wide_revocation.ts";
import { replayWitnesses, simulateWitnesses } from "./simulate/witnesses.ts";
import { tracePage } from "./simulate/trace_page.ts";

const usage = `usage: npm run simulate -- [--seed N] [--runs M] [--minutes T] [--nodes K] [--faults a,b|none|all]
  [--wide [--revocation] | --membership | --approvals | --hardware | --trainings | --witnesses] [--replay SEED] [--scenario FILE] [--hunt MINUTES] [--trace FILE.html] [--runtime node|deno] [--json]
--wide: one run of 1,000 nodes (or K) for an hour, each joined by two gateways, with revocations and new keys
--wide --revocation: how fast a revocation reaches 1,000 nodes (or K) while 30 % of the links are down for 3 s
--membership: scenarios about a CA, tokens, renewals and revocation lists that travel; kinds of fault:
  ${memberFaultKinds.join(", ")}
--hardware: the same, where keys of the CA and of nodes are in tokens that hang and vanish
--approvals: the same, where persons approve enrolments of schedulers and changes of the approvers, and some of them leave
--trainings: models that the scheduler keeps, with an integer tensor beside floats, several at once in half of the seeds; clocks
  that are set, full disks, losses of power at any write, and the kinds of fault below
--witnesses: audit logs that are truncated, rewritten or forked, and those who witness them
--hunt: keeps the scenarios that take a new transition of a machine, and changes them further; ends with the transitions
  that plain seeds did not take, and with scenarios that violate an invariant
--scenario: plays a scenario that a failure printed (JSON)
kinds of fault: ${allFaultKinds.join(", ")}
`;

class Usage extends Error {}

function numberOf(name: string, text: string | undefined, least: number): number | undefined {
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!Number.isFinite(value) || value < least) throw new Usage(`--${name} takes a number from ${least} on`);
  return value;
}

function faultsOf(text: string | undefined): readonly FaultKind[] | undefined {
  if (text === undefined || text === "all") return undefined;
  if (text === "none") return [];
  return text.split(",").map((kind) => {
    if (!(allFaultKinds as readonly string[]).includes(kind)) throw new Usage(`there is no kind of fault ${kind}`);
    return kind as FaultKind;
  });
}

function readOptions(args: readonly string[]) {
  const { values } = parseArgs({
    args: [...args],
    options: {
      seed: { type: "string" },
      runs: { type: "string" },
      minutes: { type: "string" },
      nodes: { type: "string" },
      faults: { type: "string" },
      wide: { type: "boolean", default: false },
      revocation: { type: "boolean", default: false },
      membership: { type: "boolean", default: false },
      approvals: { type: "boolean", default: false },
      hardware: { type: "boolean", default: false },
      trainings: { type: "boolean", default: false },
      witnesses: { type: "boolean", default: false },
      replay: { type: "string" },
      scenario: { type: "string" },
      hunt: { type: "string" },
      help: { type: "boolean", default: false },
      trace: { type: "string" },
      runtime: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  const { approvals, hardware } = values;
  const isOfMembers = values.membership || approvals || hardware;
  const minutes = numberOf("minutes", values.minutes, 0);
  const options: SimulateOptions = {
    seed: numberOf("seed", values.seed, 0) ?? 1,
    runs: numberOf("runs", values.runs, 1) ??
      (minutes !== undefined || values.hunt !== undefined ? Infinity : values.wide ? 1 : 100),
    minutes,
    nodes: numberOf("nodes", values.nodes, 8),
    faults: isOfMembers ? undefined : faultsOf(values.faults),
    wide: values.wide,
    trainings: values.trainings,
    onProgress: values.json ? () => {} : (line) => process.stderr.write(`${line}\n`),
  };
  const hunting = numberOf("hunt", values.hunt, 0);
  const { json, trace, runtime, replay, scenario, help, witnesses, revocation } = values;
  if (revocation && !values.wide) throw new Usage("--revocation takes --wide too");
  const ofAll = ["json", "runtime", "help"];
  const unread = unreadFlag(
    Object.entries(values).filter(([name, value]) => value !== undefined && value !== false && !ofAll.includes(name))
      .map(([name]) => name),
  );
  if (unread !== undefined) throw new Usage(unread);
  const members = isOfMembers ? { ...options, approvals, hardware, faults: membersFaultsOf(values.faults) } : undefined;
  return { options, members, witnesses, revocation, json, trace, runtime, replay, scenario, hunting, help };
}

function membersFaultsOf(text: string | undefined): MembersOptions["faults"] {
  if (text === undefined || text === "all") return undefined;
  if (text === "none") return [];
  const kinds = memberFaultsOf(text.split(","));
  if (kinds === undefined) throw new Usage(`there is no kind of fault about membership among ${text}`);
  return kinds;
}

/** The second family. */
async function mainOfMembers(options: MembersOptions, seed: string | undefined, json: boolean): Promise<number> {
  if (seed !== undefined) {
    const { lines, ...report } = await replayMember(numberOf("replay", seed, 0) ?? 0, options);
    const text = lines.filter(({ kind }) => kind !== "frame").map(({ at, node, kind, text }) =>
      `${(at / 1_000).toFixed(3)} ${node} ${kind} ${text}\n`
    );
    if (!json) process.stderr.write(text.join(""));
    process.stdout.write(`${JSON.stringify(report, undefined, json ? 0 : 2)}\n`);
    return report.violations.length === 0 ? 0 : 1;
  }
  const report = await simulateMembers(options);
  process.stdout.write(json ? `${JSON.stringify(report)}\n` : textOf(report));
  return report.failures.length === 0 ? 0 : 1;
}

/** The fourth family. */
async function mainOfWitnesses(options: BatchOptions, seed: string | undefined, json: boolean): Promise<number> {
  if (seed === undefined) {
    const report = await simulateWitnesses(options);
    process.stdout.write(json ? `${JSON.stringify(report)}\n` : textOf(report));
    return report.failures.length === 0 ? 0 : 1;
  }
  const { lines, ...report } = await replayWitnesses(numberOf("replay", seed, 0) ?? 0);
  const text = lines.map(({ at, node, kind, text }) => `${(at / 1_000).toFixed(3)} ${node} ${kind} ${text}\n`);
  if (!json) process.stderr.write(text.join(""));
  process.stdout.write(`${JSON.stringify(report, undefined, json ? 0 : 2)}\n`);
  return report.violations.length === 0 ? 0 : 1;
}

async function main(args: readonly string[]): Promise<number> {
  const { options, members, witnesses, revocation, json, trace, runtime, replay: seed, scenario: file, hunting, help } =
    readOptions(args);
  if (help) {
    process.stdout.write(usage);
    return 0;
  }
  if (runtime !== undefined && runtime !== "node" && runtime !== "deno") throw new Usage("--runtime is node or deno");
  if (runtime !== undefined && runtime !== runtimeOf()) return await startUnder(runtime, args);
  if (members !== undefined) return await mainOfMembers(members, seed, json);
  if (revocation) return await simulateWideRevocation(options, json);
  if (witnesses) return await mainOfWitnesses(options, seed, json);
  if (hunting !== undefined) {
    const report = await hunt({ ...options, minutes: hunting });
    process.stdout.write(json ? `${JSON.stringify(report)}\n` : huntText(report));
    return report.failures.length === 0 ? 0 : 1;
  }
  if (seed !== undefined || trace !== undefined || file !== undefined) {
    const one = numberOf("replay", seed, 0) ?? options.seed;
    const result = await replay(file === undefined ? chooseScenario(one, options) : readScenario(file));
    if (trace !== undefined) writeFileSync(trace, tracePage(result));
    const { lines: _, ...report } = result;
    process.stdout.write(json ? `${JSON.stringify(report)}\n` : `${JSON.stringify(report, undefined, 2)}\n`);
    return result.violations.length === 0 ? 0 : 1;
  }
  const report = await simulate(options);
  process.stdout.write(json ? `${JSON.stringify(report)}\n` : textOf(report));
  return report.failures.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const isUsage = error instanceof Usage || error instanceof NoScenario ||
    (error as { code?: string }).code?.startsWith("ERR_PARSE_ARGS") === true;
  if (!isUsage) throw error;
  process.stderr.write(`${(error as Error).message}\n${usage}`);
  process.exitCode = 2;
}
