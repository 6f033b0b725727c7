/**
 * Deliberate defects. Each is a patch: a piece of a production file, found exactly once, and its replacement. They are
 * applied to a copy of the tree; the tree itself has no switch for any of them.
 *
 * @module
 */

import type { Shrinking } from "./find.ts";
import { plantedCoreBugs } from "./planted_core_bugs.ts";
import { plantedMemberBugs } from "./planted_member_bugs.ts";
import { plantedPartnerBugs } from "./planted_partner_bugs.ts";
import { plantedRuleBugs } from "./planted_rule_bugs.ts";
import { plantedTrainingBugs } from "./planted_training_bugs.ts";
import { plantedWitnessBugs } from "./planted_witness_bugs.ts";
import type { Patch } from "./planted_tree.ts";

/** A defect. */
export interface PlantedBug extends Patch {
  readonly name: string;
  /** The family of scenarios that finds it; undefined: the first. */
  readonly family?: "membership" | "approvals" | "hardware" | "trainings" | "witnesses";
}

/** The result of one defect. */
export interface Outcome {
  readonly bug: string;
  readonly found: number;
  readonly runs: number;
  readonly seed: number | null;
  readonly invariants: readonly string[];
  readonly shrunk: Shrinking | null;
  readonly problem: string | null;
}

/** All of them. */
export const plantedBugs: readonly PlantedBug[] = [
  {
    name: "CRL lookup ignores the intermediate",
    file: "pki/checks/revocation.ts",
    find: "for (let below = 0; below + 1 < path.length; below++) {",
    replace: "for (let below = 0; below < 1; below++) {",
  },
  {
    name: "notAfter is not checked",
    file: "pki/checks/validity.ts",
    find: "if (!(at <= notAfter)) return",
    replace: "if (!(at <= notAfter) && notAfter.getTime() === 0) return",
  },
  {
    name: "notAfter is not checked again while a connection lives",
    file: "actors/gate/gate_context.ts",
    find: "return Math.min(timerMaxMs, Math.max(expiryCheckMinMs, leftMs));",
    replace: "return Math.max(timerMaxMs, leftMs);",
  },
  {
    name: "new trust does not send open connections through the checks again",
    file: "actors/gate/connection_gate.ts",
    find: `        "trust.changed": {
          target: "reverifying",
          actions: { type: "begin", params: ({ event }) => ({ snapshot: event.snapshot }) },
        },
        "connection.opened": {},`,
    replace: `        "trust.changed": {
          actions: { type: "takeSnapshot", params: ({ event }) => ({ snapshot: event.snapshot }) },
        },
        "connection.opened": {},`,
  },
  {
    name: "new trust does not reach a connection that is being opened",
    file: "actors/gate/connection_gate.ts",
    find: `        "trust.changed": {
          target: "reverifying",
          actions: { type: "begin", params: ({ event }) => ({ snapshot: event.snapshot }) },
        },
        "tls.failed": refusedAsTold,`,
    replace: `        "trust.changed": {},
        "tls.failed": refusedAsTold,`,
  },
  {
    name: "a refused connection is left open",
    file: "actors/gate/connection_gate.ts",
    find: `refused: { type: "final", entry: "sayRefused" },`,
    replace: `refused: { type: "final" },`,
  },
  {
    name: "a handshake has no deadline",
    file: "actors/gate/connection_gate.ts",
    find: '      after: { deadline: timedOut },\n      on: {\n        "trust.changed": { actions:',
    replace: '      on: {\n        "trust.changed": { actions:',
  },
  {
    name: "a list with a lower number is taken",
    file: "pki/crl.ts",
    find: "return a.length - b.length || (a === b ? 0 : a > b ? 1 : -1);",
    replace: "return a === b ? 0 : 1;",
  },
  {
    name: "the trust store misses a change, and waits for its poll",
    file: "actors/files/watched_files.ts",
    find: `            "files.touched": { target: "settling" },`,
    replace: `            "files.touched": {},`,
  },
  {
    name: "a refusal is recorded twice",
    file: "actors/trust/refusal_log.ts",
    find: `          { type: "record", params: fact },
        ],`,
    replace: `          { type: "record", params: fact },
          { type: "record", params: fact },
        ],`,
  },
  {
    name: "a peer other than the holder renews a lease",
    file: "actors/worker/lease.ts",
    find: "member === context.holder,",
    replace: '(member as string) !== "" || member === context.holder,',
  },
  {
    name: "the timer of a renewed lease runs on",
    file: "actors/worker/lease.ts",
    find: `            target: "held",
            reenter: true,
            actions: { type: "renew"`,
    replace: `            target: "held",
            actions: { type: "renew"`,
  },
  {
    name: "open offers are not counted",
    file: "actors/worker/commitments.ts",
    find: "const promised = Object.values(commitments.offers).filter(({ reserves }) => reserves);",
    replace: "const promised = Object.values(commitments.offers).filter(() => false);",
  },
  {
    name: "any peer dispatches under another's lease",
    file: "actors/worker/commitments.ts",
    find:
      "return leasesOf(commitments, sender).findLast((lease) =>\n    isOfRun(lease) && jobsOfLease(commitments, lease.id).length === 0 &&",
    replace:
      'return [...Object.values(commitments.leases), ...leasesOf(commitments, sender)].findLast((lease) =>\n    lease.id !== "" &&',
  },
  {
    name: "a job outlives its lease",
    file: "actors/worker/offering.ts",
    find: 'enqueue.sendTo<JobRef>(`job/${taskId}`, { type: "job.cancel", reason: `its lease is over: ${reason}` });',
    replace: "void taskId;",
  },
  {
    name: "slice index off by one",
    file: "actors/training/slices.ts",
    find: "const last = index + 1 >= cursor.count;",
    replace: "const last = index >= cursor.count;",
  },
  {
    name: "the mean is divided by the wrong count",
    file: "actors/learning/outer_step.ts",
    find: "  return sum / values.length;\n}",
    replace: "  return sum / (values.length + 1);\n}",
  },
  {
    name: "the parameter server does not wait for all",
    file: "actors/job/parameter_server/setup.ts",
    find: "expected.length > 0 && expected.every((peer) => received[peer] !== undefined),",
    replace: "expected.length > 0 && expected.some((peer) => received[peer] !== undefined),",
  },
  {
    name: "the parameter server waits for trainers that were left out",
    file: "actors/job/parameter_server/actions.ts",
    find: "    expected,\n    results: results.peers.filter(",
    replace: "    results: results.peers.filter(",
  },
  {
    name: "a gateway is dialled again without backoff",
    file: "actors/runtime/backoff.ts",
    find: "const stepMs = Math.min(backoff.maxMs, backoff.firstMs * 2 ** doublings);",
    replace: "const stepMs = Math.min(backoff.maxMs, backoff.firstMs + doublings);",
  },
  {
    name: "a lost gateway is not dialled again",
    file: "actors/node/gateway_link.ts",
    find: `    waiting: { entry: "dialConfigured", after: { backoff: "dialling" } },`,
    replace: `    waiting: { entry: "dialConfigured" },`,
  },
  {
    name: "a stream that is over stays in the books",
    file: "transport/core/raw_streams.ts",
    find: "        this.#open.delete(owned);\n",
    replace: "",
  },
  {
    name: "an update that broke off counts as arriving for ever",
    family: "trainings",
    file: "actors/job/parameter_server/actions.ts",
    find: "enqueue.assign({ saving: context.saving.filter((other) => other !== peer) });",
    replace:
      'if (saved.type !== "broken") enqueue.assign({ saving: context.saving.filter((other) => other !== peer) });',
  },
  ...plantedCoreBugs,
  ...plantedWitnessBugs,
  ...plantedRuleBugs,
  ...plantedPartnerBugs,
  ...plantedMemberBugs,
  ...plantedTrainingBugs,
];
