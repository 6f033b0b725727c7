/**
 * The aggregator's process is killed in the middle of training, and started again, as a supervisor would.
 *
 * @module
 */
import { BrokenPromise } from "./broken_promise.ts";
import type { Display } from "./display.ts";
import { startNode, untilReady } from "./network.ts";
import type { Network } from "./network_start.ts";
import type { LogEvent, NodeProcess } from "./processes.ts";
import type { Kill } from "./promises.ts";

/** An absence of ten seconds, the lease of another aggregator, and a round. */
const recoveryTimeoutMs = 120_000;

/**
 * Kills the aggregator's process without a warning. Returns when it started again, and a round was finished without the process that
 * was killed.
 */
export async function killAggregator(
  { certifier, layout, nodes, plan }: Network,
  { scheduler, name }: { readonly scheduler: NodeProcess; readonly name: string },
  display: Display,
): Promise<Kill> {
  const node = nodes.get(name);
  const planned = [...plan.nodes, plan.late].find((each) => each.name === name);
  if (node === undefined || planned === undefined) throw new BrokenPromise(`there is no ${name}`);
  const began = Date.now();
  await node.kill();
  const again = startNode(planned, layout, certifier);
  nodes.set(name, again);
  const isAfter = (wanted: string) => ({ event, time }: LogEvent) => event === wanted && Date.parse(time) > began;
  const lost = await scheduler.waitFor(isAfter("aggregator.lost"), "notice of the loss", recoveryTimeoutMs);
  display.note(`the scheduler noticed after ${seconds(Date.parse(lost.time) - began)} s: ${String(lost["reason"])}`);
  const isFurther = (event: LogEvent) =>
    isAfter("round.finished")(event) && scheduler.events.indexOf(event) > scheduler.events.indexOf(lost);
  const [round] = await Promise.all([
    scheduler.waitFor(isFurther, "round after the aggregator's end", recoveryTimeoutMs),
    untilReady(again),
  ]);
  display.note(`round ${String(round["round"])} was finished after ${seconds(Date.parse(round.time) - began)} s`);
  return { killed: name, lostAt: Date.parse(lost.time) };
}

const seconds = (ms: number): string => (ms / 1_000).toFixed(1);
