/**
 * The machine of a node of any role.
 *
 * @module
 */
import { dataMachine } from "../data/data.ts";
import { gatewayMachine } from "../gateway/gateway.ts";
import { schedulerMachine } from "../scheduler/scheduler.ts";
import { workerMachine } from "../worker/worker.ts";
import { rolelessNode } from "./node_machine.ts";

export { type NodeCommand, type NodeExit, NodeFailed, type NodeInput } from "./node_setup.ts";

/** The machine of a node. Its output is a {@linkcode NodeExit}. */
export const nodeMachine: typeof rolelessNode = rolelessNode.provide({
  actors: { gateway: gatewayMachine, scheduler: schedulerMachine, worker: workerMachine, data: dataMachine },
});
