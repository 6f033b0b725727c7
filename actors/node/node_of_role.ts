/**
 * The machine of a node of one role, without the others' modules: they are half of what a gateway would load.
 *
 * @module
 */
import type { Role } from "../../pki/certificate.ts";
import { rolelessNode } from "./node_machine.ts";

/** Loads the role's machine and provides it. A node of another role fails when its role starts. */
export async function nodeOfRole(role: Role): Promise<typeof rolelessNode> {
  switch (role) {
    case "gateway": {
      const { gatewayMachine } = await import("../gateway/gateway.ts");
      return rolelessNode.provide({ actors: { gateway: gatewayMachine } });
    }
    case "scheduler": {
      const { schedulerMachine } = await import("../scheduler/scheduler.ts");
      return rolelessNode.provide({ actors: { scheduler: schedulerMachine } });
    }
    case "worker": {
      const { workerMachine } = await import("../worker/worker.ts");
      return rolelessNode.provide({ actors: { worker: workerMachine } });
    }
    case "data": {
      const { dataMachine } = await import("../data/data.ts");
      return rolelessNode.provide({ actors: { data: dataMachine } });
    }
  }
}
