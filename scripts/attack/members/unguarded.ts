/**
 * Nodes without defences that no configuration leaves open, for controls: their code is a copy of the tree without them.
 *
 * @module
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { copyTree, type Patch, plant } from "../../simulate/planted_tree.ts";

/** A defence that is taken out, and the attacks that come through without it. */
export interface MissingDefence extends Patch {
  readonly comesThrough: readonly string[];
}

/** The defences. All are taken out of one copy. */
export const missingDefences: readonly MissingDefence[] = [
  {
    comesThrough: ["stop-of-a-stranger-worker", "stop-of-a-stranger-gateway"],
    file: "transport/core/session_listener.ts",
    find: "permits: (connection, act) => gateways.permits(connection, act),",
    replace: "permits: () => true,",
  },
  {
    comesThrough: ["impostor-gateway"],
    file: "transport/core/session_listener.ts",
    find: "gateways.refusalOf(connection, identity) ?? costs.refusalOf(identity.peer)",
    replace: "costs.refusalOf(identity.peer)",
  },
  {
    comesThrough: ["neighbours-at-one-address"],
    file: "transport/libp2p/node.ts",
    find: "scoreParams: { IPColocationFactorWeight: 0 },",
    replace: "",
  },
  {
    comesThrough: ["identify-answers-of-80-kb"],
    file: "transport/libp2p/wire.ts",
    find: "limitKnownAddresses(libp2p.peerStore, libp2p.peerId);",
    replace: "",
  },
  {
    comesThrough: ["identify-answers-of-80-kb"],
    file: "transport/libp2p/wire.ts",
    find: "internals.limitIdentified(addressesPerPeerMax);",
    replace: "",
  },
  {
    comesThrough: ["flood-of-gossip-messages"],
    file: "transport/libp2p/priced_gossip.ts",
    find: "while (leftUs <= 0) await",
    replace: "if (leftUs === undefined) await",
  },
  {
    comesThrough: ["lying-report"],
    file: "actors/scheduler/routing.ts",
    find: "  if (training === undefined) decline(routed, request);",
    replace: `  const { context, enqueue } = args;
  if (training === undefined && "progress" in request.message) {
    enqueue.sendTo(context.transport, { type: "respond", exchange: request.exchange, message: { type: "Ok" } });
  } else if (training === undefined) decline(routed, request);`,
  },
  {
    comesThrough: ["uninvited-updates"],
    file: "actors/job/receiver.ts",
    find: "this.waiting < this.#waitingMax && (this.peers === undefined || this.peers.includes(peer))",
    replace: "this.waiting < this.#waitingMax",
  },
  {
    comesThrough: ["uninvited-updates", "updates-twice-and-late"],
    file: "actors/job/parameter_server/actions.ts",
    find: "if (!allowedNow(context).includes(peer)) {",
    replace: "if (context.expected.length === 0) {",
  },
  {
    comesThrough: ["updates-of-another-training", "updates-twice-and-late"],
    file: "actors/job/receiver.ts",
    find: `    const { training } = this;\n    if (training === undefined ||`,
    replace:
      `    const { training } = this;\n    if (label !== undefined) return undefined;\n    if (training === undefined ||`,
  },
  {
    comesThrough: ["results-that-differ"],
    file: "actors/training/judging.ts",
    find: 'if (!isNews || after.state === "done") return;',
    replace: "if (!isNews || after !== undefined) return;",
  },
  {
    comesThrough: ["end-of-anothers-training"],
    file: "actors/worker/training_requests.ts",
    find: `if (lease?.holder !== holder) return "Refused";`,
    replace: `if (lease === undefined) return "Refused";`,
  },
];

/** A copy of the tree without them. */
export function unguardedTree(): { readonly path: string; remove(): void } {
  const path = copyTree();
  for (const defence of missingDefences) {
    const problem = plant(path, defence);
    if (problem !== undefined) throw new Error(problem);
  }
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Where the nodes of a tree begin. */
export const victimOf = (tree: string): string => join(tree, "scripts/attack/members/victim.ts");
