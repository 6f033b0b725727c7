/**
 * What a data node does with its pulls: gives them places, serves them, and reports them.
 *
 * @module
 */
import { moreOf } from "../../transport/core/rare_reports.ts";
import type { PeerText, StreamAnswer } from "../../transport/port.ts";
import type { JobScope } from "../../pki/refusal.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { pullProtocols } from "../files/stream_file.ts";
import { present } from "../runtime/present.ts";
import { answerAs } from "../runtime/role.ts";
import type { DataArgs, DataContext, DataEvent, EndedPull, OpenedPull } from "./data_setup.ts";
import { checkReader } from "./may_read.ts";
import { hasPlace, isFull, type OfferedPull, pullsMax, pullsOfPeerMax, pullWaitMs } from "./pulls.ts";
import type { PullOutcome } from "./serve_pull.ts";

const lateOf = (exchange: string) => `late/${exchange}`;

/** A pull waits for a place. */
export function holdPull({ context, enqueue }: DataArgs, offered: OfferedPull): void {
  const { exchange } = offered;
  enqueue.assign({ waiting: [...context.waiting, offered] });
  enqueue.raise({ type: "pull.late", exchange }, { delay: pullWaitMs, id: lateOf(exchange) });
}

/** Accepts the pulls that wait and have a place now. */
export function acceptPulls({ context, self, enqueue }: DataArgs): void {
  let { pulls } = context;
  const waiting = context.waiting.filter(({ exchange, identity, peer }) => {
    if (!hasPlace({ pulls }, peer)) return true;
    pulls = { ...pulls, [exchange]: { identity, isWritten: false } };
    enqueue.cancel(lateOf(exchange));
    enqueue.sendTo(context.transport, {
      type: "stream.accept",
      exchange,
      replyTo: answerAs(
        self,
        (answer: StreamAnswer): DataEvent =>
          answer.type === "stream.opened"
            ? { type: "pull.opened", exchange, stream: answer.stream }
            : { type: "pull.unopened", exchange },
      ),
    });
    return false;
  });
  enqueue.assign({ pulls, waiting });
}

/** A pull has waited for a place as long as it may. */
export function rejectLate({ context, enqueue }: DataArgs, { exchange }: { readonly exchange: string }): void {
  const late = context.waiting.find((offered) => offered.exchange === exchange);
  if (late === undefined) return;
  enqueue.assign({ waiting: context.waiting.filter((offered) => offered !== late) });
  enqueue.sendTo(context.transport, { type: "stream.reject", exchange });
  enqueue(() => reportBusy(context, late.peer));
}

/** Rejects the pulls that wait. */
export function rejectWaiting({ context, enqueue }: DataArgs): void {
  for (const { exchange } of context.waiting) {
    enqueue.cancel(lateOf(exchange));
    enqueue.sendTo(context.transport, { type: "stream.reject", exchange });
  }
  enqueue.assign({ waiting: [] });
}

/** Rejects a stream that is no pull, or a pull by a peer that may not read, or that finds no room. */
export function rejectPull(args: DataArgs, offered: OfferedPull): void {
  const { context, enqueue } = args;
  const { exchange, identity, peer, protocol } = offered;
  enqueue.sendTo(context.transport, { type: "stream.reject", exchange });
  if (!pullProtocols.some((pull) => pull === protocol)) return;
  const refusal = checkReader(context.config, offered);
  if (refusal === undefined) return enqueue(() => reportBusy(context, peer));
  tellRefusal(args, identity, refusal);
}

/** Serves a pull whose stream is open. */
export function startPull({ context, enqueue }: DataArgs, { exchange, stream }: OpenedPull): void {
  const { ports, transport, config } = context;
  enqueue.spawnChild("pull", {
    id: `pull/${exchange}`,
    input: {
      ports,
      transport,
      requireGrant: config.requireGrant === true,
      exchange,
      stream,
      dataset: present(context.dataset, "the data set"),
    },
  });
}

/** Reports a pull that ended. */
export function notePull(args: DataArgs, { exchange, stream, outcome }: EndedPull): void {
  const { context, enqueue } = args;
  if (outcome.type !== "refused") return enqueue(() => reportPull(context, stream.peer, outcome));
  const { identity } = present(context.pulls[exchange], "the pull");
  tellRefusal(args, identity, outcome.refusal);
}

/** A pull whose peer has to end its side holds no place. */
export function awaitPullerEnd({ context, enqueue }: DataArgs, { exchange, stream }: EndedPull): void {
  const pull = present(context.pulls[exchange], "the pull");
  enqueue.assign({ pulls: { ...context.pulls, [exchange]: { ...pull, isWritten: true } } });
  enqueue.stopChild(`pull/${exchange}`);
  enqueue.spawnChild("pullerEnd", { id: `end/${exchange}`, input: { ports: context.ports, exchange, stream } });
}

/** Forgets a pull. */
export function endPull({ context, enqueue }: DataArgs, { exchange }: { readonly exchange: string }): void {
  const { [exchange]: _, ...pulls } = context.pulls;
  enqueue.assign({ pulls });
  enqueue.stopChild(`pull/${exchange}`);
  enqueue.stopChild(`end/${exchange}`);
}

/** Reports a pull that found no place: at most one a minute for each member, and one while all places are taken. */
function reportBusy(context: DataContext, peer: PeerText): void {
  const isNodeFull = isFull(context);
  const untold = context.rare.note(isNodeFull ? "" : peer, "slice.busy");
  if (untold === undefined) return;
  const why = isNodeFull ? `all ${pullsMax} places for pulls are taken` : `it has ${pullsOfPeerMax} pulls already`;
  context.ports.report({
    level: "warn",
    event: "slice.busy",
    message: `Cannot serve ${peer}: ${why}${moreOf(untold)}`,
    fields: { peer, isFull: isNodeFull, untold },
  });
}

/** Reports a pull. The refusal log counts, logs and records refused ones. */
function reportPull(
  { ports, rare }: DataContext,
  peer: PeerText,
  outcome: Exclude<PullOutcome, { type: "refused" }>,
): void {
  const fields = { peer, ...outcome };
  if (outcome.type === "served") {
    ports.report({
      level: "debug",
      event: "slice.served",
      message: `Served slice ${outcome.index} to ${peer}`,
      fields,
    });
    return;
  }
  // A damaged file is reported whatever else its pullers cause.
  const untold = rare.note(outcome.type === "shortened" ? outcome.file : peer, outcome.type);
  if (untold === undefined) return;
  ports.report({
    level: "warn",
    event: "slice.refused",
    message: `${messageOf(peer, outcome)}${moreOf(untold)}`,
    fields: { ...fields, untold, ...(outcome.type === "unknown" ? { dataset: outcome.dataset.slice(0, 256) } : {}) },
  });
}

/** The line of a pull that was not served. */
function messageOf(peer: PeerText, outcome: Exclude<PullOutcome, { type: "served" | "refused" }>): string {
  if (outcome.type === "unknown") {
    const dataset = JSON.stringify(outcome.dataset.slice(0, 256));
    return `Cannot serve slice ${outcome.index} of ${dataset} to ${peer}: not here`;
  }
  const slice = "file" in outcome ? `slice ${outcome.index} (${JSON.stringify(outcome.file)}) to ` : "";
  return `Cannot serve ${slice}${peer}: ${outcome.reason}`;
}

/** Passes a member's refusal to the node's refusal log: at most one a minute, with the number of those before it. */
function tellRefusal({ context, enqueue }: DataArgs, { name, peer }: PeerIdentity, refusal: JobScope): void {
  const { parent, rare, refusals: { facts, counted } } = context;
  const untold = rare.note(peer, refusal.code);
  if (untold === undefined) return;
  enqueue.assign({ refusals: { facts: facts + 1, counted: counted + 1 + untold } });
  if (parent === undefined) return;
  const who = { address: `/p2p/${peer}`, direction: "inbound", peer: { name, id: peer } } as const;
  enqueue.sendTo(parent, { type: "peer.refused", ...who, refusal, untold });
}
