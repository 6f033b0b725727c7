/**
 * A node that gets and renews its certificate by itself (`[membership]`): the machine that does it, and what it knows of the node.
 *
 * @module
 */
import { enrolmentFiles } from "../enrolment/enrolment_store.ts";
import { tokenKey } from "../enrolment/identity_key.ts";
import type { IdentityEvent, IdentityInput } from "../trust/identity.ts";
import type { WorkerContext } from "../worker/worker_setup.ts";
import { policyOf } from "./inputs.ts";
import { isEnrolling, type NodeArgs, type NodeContext, roleIdOf } from "./node_setup.ts";

/** What `identity` is made with: a node that enrols by itself waits for a pair. */
export function identityInput({ ports, config, askCa }: NodeContext): IdentityInput {
  const { certPem, keyPem, role, membership } = config;
  const missing = isEnrolling({ config, askCa }) ? "wait" : "fail";
  return { ports, certPem, keyPem, role, missing, whenRevoked: membership === undefined ? "report" : "end" };
}

/** Starts enrolment and renewal where the configuration has `[membership]`. */
export function startEnrolment({ context, self, enqueue }: NodeArgs): void {
  const { ports, config, askCa: ask } = context;
  const { membership, role, stateDir } = config;
  if (membership === undefined || ask === undefined) return;
  enqueue.spawnChild("enrolment", {
    id: "enrolment",
    input: {
      ports,
      ask,
      store: enrolmentFiles({ ...config, stateDir, identityPem: membership.identityCertPem }),
      hardware: membership.identityKey === undefined ? undefined : tokenKey(membership.identityKey),
      role,
      policy: policyOf(config),
      membership,
      isIdle: () => isIdle(self.getSnapshot()),
    },
  });
}

interface NodeLooks {
  readonly context: NodeContext;
  readonly children: Readonly<Record<string, unknown>>;
}

/**
 * Whether another key would disturb no work now. Gateways and data nodes hand over at once; a scheduler has a job as long as it
 * runs.
 */
function isIdle({ context: { config, identityCount, previousIdentities }, children }: NodeLooks): boolean {
  if (previousIdentities.length > 0 || config.role === "scheduler") return false;
  if (config.role !== "worker") return true;
  const worker = children[roleIdOf(identityCount)] as
    | { getSnapshot(): { readonly context: Pick<WorkerContext, "book"> } }
    | undefined;
  const { offers = {}, leases = {}, jobs = {} } = worker?.getSnapshot().context.book ?? {};
  return [offers, leases, jobs].every((promises) => Object.keys(promises).length === 0);
}

/** Reports why the node waits for a pair. */
export function reportAwaited(
  { context: { ports } }: { readonly context: NodeContext },
  { error }: Extract<IdentityEvent, { type: "identity.awaited" }>,
): void {
  const message = `Waiting for a certificate: ${error instanceof Error ? error.message : error}`;
  ports.report({ level: "warn", event: "node.awaiting", message });
}
