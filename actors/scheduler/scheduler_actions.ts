/**
 * The actions of the scheduler's machine.
 *
 * @module
 */
import { assign, enqueueActions } from "xstate";
import { withConnected, withoutConnected } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { Ports } from "../runtime/ports.ts";
import type { RoleEvent } from "../runtime/role.ts";
import { trainingIdOf } from "../training/run_number.ts";
import { passFact, passSorted, routeRequest, routeStream, serveRequests, startSorting } from "./routing.ts";
import {
  runningTrainings,
  type SchedulerArgs,
  schedulerSetup,
  trainingActorId,
  type TrainingEnded,
} from "./scheduler_setup.ts";
import { endBygoneAt, noteAnswer, noteBegan, noteKnown, noteLeased, noteLeft, tellWorker } from "./telling.ts";

/** Ports whose log lines name the training. */
function portsOf(ports: Ports, id: string): Ports {
  return {
    ...ports,
    report: ({ fields, ...report }) => ports.report({ ...report, fields: { training: id, ...fields } }),
  };
}

/** Starts the training of `[scheduler.job]`. */
function startConfigured({ context, self, enqueue }: SchedulerArgs): void {
  const { config: { job, stateDir }, ports, transport, self: peer, sign, members, evaluator } = context;
  const id = trainingIdOf(job);
  enqueue.assign({ running: [...context.running, id] });
  enqueue.spawnChild("training", {
    id: trainingActorId(id),
    input: {
      id,
      config: { job, stateDir },
      ports: portsOf(ports, id),
      ...{ transport, self: peer, sign, members, evaluator },
      parent: self,
      workers: () => self.getSnapshot().context.workers,
    },
  });
}

/** A training ended: the role ends as it did. */
function noteEnded({ context, enqueue }: SchedulerArgs, { type, output }: TrainingEnded): void {
  const id = context.running.find((each) => type === `xstate.done.actor.${trainingActorId(each)}`);
  if (id === undefined || output === undefined) return;
  enqueue.assign({ running: context.running.filter((each) => each !== id), outcome: output });
  enqueue.stopChild(trainingActorId(id));
}

/** The trainings end, or finish what they have begun. */
function passToTrainings(
  { self, enqueue }: SchedulerArgs,
  command: Extract<RoleEvent, { type: "role.drain" | "role.retire" }>,
): void {
  for (const { ref } of runningTrainings(self)) enqueue.sendTo(ref, command);
}

/** The setup of the scheduler's machine, with its actions. */
export const scheduler = schedulerSetup.extend({
  actions: {
    serveRequests: enqueueActions(serveRequests),
    startConfigured: enqueueActions(startConfigured),
    routeRequest: enqueueActions(routeRequest),
    routeStream: enqueueActions(routeStream),
    startSorting: enqueueActions(startSorting),
    passSorted: enqueueActions(passSorted),
    passFact: enqueueActions(passFact),
    passToTrainings: enqueueActions(passToTrainings),
    noteHere: assign(({ context }, { identity }: { readonly identity: PeerIdentity }) => ({
      members: withConnected(context.members, identity),
    })),
    noteGone: assign(({ context }, { identity }: { readonly identity: PeerIdentity }) => ({
      members: withoutConnected(context.members, identity),
    })),
    noteBegan: enqueueActions(noteBegan),
    noteAnswer: enqueueActions(noteAnswer),
    noteKnown: enqueueActions(noteKnown),
    noteLeased: enqueueActions(noteLeased),
    noteLeft: enqueueActions(noteLeft),
    tellWorker: enqueueActions(tellWorker),
    endBygoneAt: enqueueActions(endBygoneAt),
    noteEnded: enqueueActions(noteEnded),
  },
});
