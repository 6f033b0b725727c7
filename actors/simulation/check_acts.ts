/**
 * Checks that an act is done only for a role that may: what reaches a role, and what is in a role's books. Which role may do what
 * stands here once more, and roles are read from the certificates that were shown: nothing is asked of the core.
 *
 * @module
 */
import { Result } from "effect";
import { checkIdentity } from "../../pki/checks/identity.ts";
import { checkWellFormed } from "../../pki/checks/well_formed.ts";
import type { Member } from "../../pki/member.ts";
import type { PeerText, TransportFact } from "../../transport/port.ts";
import { allParticipants } from "../training/training.ts";
import type { WorkerContext } from "../worker/worker_setup.ts";
import { type CheckInit, contextsOf, type Findings, trainingContextsOf } from "./findings.ts";
import type { SimulatedNode } from "./node.ts";
import type { Oracle } from "./oracle.ts";

/** What a request or a stream must have been sent by. */
const senders: Readonly<Record<string, string>> = {
  WorkerOffer: "worker",
  RenewLease: "scheduler",
  JobStatus: "worker",
  DispatchJob: "scheduler",
  Data: "worker",
  "/hypha-progress/0.0.1": "worker",
  "/hypha-tensor-stream/pull": "worker",
  "/hypha-tensor-stream/pull/2": "worker",
  "/hypha-tensor-stream/push": "worker",
  "/hypha-tensor-stream/push/2": "worker",
};

type Received = Extract<TransportFact, { type: "request.received" | "stream.received" }>;

/** Checks the acts that reach the roles of all nodes. */
export class ActChecks {
  readonly #findings: Findings;
  readonly #oracle: Oracle;
  readonly #roles = new WeakMap<Uint8Array, string>();

  constructor({ findings, oracle }: CheckInit & { readonly oracle: Oracle }) {
    this.#findings = findings;
    this.#oracle = oracle;
  }

  /** A request or a stream reaches a node's role. `leaf`: the certificate that its connection showed. */
  received(node: SimulatedNode, fact: Received, leaf: Uint8Array): void {
    const what = fact.type === "request.received" && fact.protocol === "/hypha-api/0.0.1"
      ? Object.keys(fact.message)[0] ?? ""
      : fact.protocol;
    const by = this.#roleOf(leaf);
    const wanted = senders[what];
    if (wanted === undefined || by === wanted || by === "none") return;
    this.#findings.violate("act-only-by-role", node.name, `${what} of a ${by} reached its role`);
  }

  /** A message of gossip reaches a node's role. */
  published(node: SimulatedNode, author: PeerText): void {
    const roles = this.#oracle.credentialsOf(author).map(({ der }) => this.#roleOf(der));
    if (roles.length === 0 || roles.includes("scheduler") || roles.includes("none")) return;
    this.#findings.violate(
      "act-only-by-role",
      node.name,
      `a request for workers of a ${roles.join(", ")} reached its role`,
    );
  }

  /** Looks at the books of a node's roles. */
  look(node: SimulatedNode): void {
    if (node.role === "worker") {
      for (const { book } of contextsOf<WorkerContext>(node)) {
        for (const { holder } of [...Object.values(book.leases), ...Object.values(book.jobs)]) {
          this.#checkMember(node, holder, "scheduler");
        }
      }
    } else if (node.role === "scheduler") {
      for (const { training } of trainingContextsOf(node)) {
        for (const { member } of allParticipants(training)) this.#checkMember(node, member, "worker");
      }
    }
  }

  #checkMember(node: SimulatedNode, member: Member, wanted: string): void {
    const [peer, , role] = JSON.parse(member) as readonly string[];
    if (role === wanted || role === "") return;
    this.#findings.violate("act-only-by-role", node.name, `${peer}, a ${role}, is in its books`);
  }

  /** `none` stands for every role. */
  #roleOf(leaf: Uint8Array): string {
    const known = this.#roles.get(leaf);
    if (known !== undefined) return known;
    const identity = Result.flatMap(checkWellFormed([leaf]), (wellFormed) => checkIdentity(wellFormed));
    const role = Result.isSuccess(identity) ? identity.success.role ?? "none" : "none";
    this.#roles.set(leaf, role);
    return role;
  }
}
