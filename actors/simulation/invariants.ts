/**
 * What must hold in every run, whatever happens: each invariant with its name, its sentence and where it is asked for.
 *
 * @module
 */

/** An invariant. */
export interface Invariant {
  readonly name: string;
  readonly sentence: string;
  /** Page and heading that ask for it. */
  readonly source: string;
}

/** All of them, by name. */
export const invariants = {
  "verified-only": {
    sentence:
      "No message above the gate comes from a peer that does not verify under the node's current trust and time.",
    source: "docs/specification.md, mTLS Handshake; Organizational Trust Boundaries",
  },
  "revoked-is-revoked": {
    sentence: "A peer that the newest lists here revoke is not established here, a second after they came.",
    source: "docs/specification.md, Certificate Revocation Lists (CRLs)",
  },
  "no-bystander": {
    sentence: "Nobody is refused or dropped for a certificate that is good.",
    source: "docs/specification.md, Certificate Chain Validation",
  },
  "marks-kept": {
    sentence: "The number of a revocation list that a node wrote down never goes back.",
    source: "docs/operations.md, State directory",
  },
  "promised-once": {
    sentence: "A worker's offers and leases together never exceed what it has.",
    source: "docs/wire.md, Allocation",
  },
  "one-holder": {
    sentence: "A lease has one holder from its beginning to its end, and nobody else renews it.",
    source: "docs/wire.md, Allocation",
  },
  "lease-kept": {
    sentence: "A lease lives as long as its giver last said it would.",
    source: "docs/wire.md, Allocation",
  },
  "job-within-lease": {
    sentence: "No job runs past its lease on the worker that gave it.",
    source: "docs/wire.md, Allocation",
  },
  "ends-once": {
    sentence: "Every job ends exactly once, with a reason where it failed.",
    source: "docs/wire.md, Extensions",
  },
  "slice-once": {
    sentence: "Every slice is handed out once an epoch, and none that does not exist.",
    source: "docs/wire.md, Data sets",
  },
  "named-updates": {
    sentence: "The parameter server takes updates only from the peers named in its job.",
    source: "docs/wire.md, Extensions",
  },
  "waits-for-all": {
    sentence: "A round's mean is made of an update of every peer that the job still names and that did not drop out.",
    source: "docs/wire.md, Extensions",
  },
  "mean-right": {
    sentence: "The result is the outer step on the mean of exactly the round's updates.",
    source: "docs/wire.md, DiLoCo",
  },
  "refusal-recorded": {
    sentence: "Every refusal is counted once, and leaves exactly one record.",
    source: "docs/refusals.md",
  },
  "refused-is-closed": {
    sentence: "A refused or closed connection is closed at once.",
    source: "docs/specification.md, mTLS Handshake",
  },
  "handshake-deadline": {
    sentence: "No connection stays without a verdict for longer than the deadlines.",
    source: "ours",
  },
  "redial-paced": {
    sentence: "A gateway that cannot be reached is dialled at growing intervals.",
    source: "ours",
  },
  "bounded": {
    sentence: "Nothing grows without bound: connections, exchanges, timers.",
    source: "ours",
  },
  "no-crash": {
    sentence: "No machine dies of an error, and no process ends for another reason than its files or its end.",
    source: "ours",
  },
  "live-network": {
    sentence: "Once trouble stops, honest valid nodes are connected to a gateway.",
    source: "ours",
  },
  "live-job": {
    sentence: "Once trouble stops, the job is done, or has failed for a reason that is said.",
    source: "ours",
  },
  "live-lease": {
    sentence: "Once its scheduler is gone, a worker's resources come back.",
    source: "docs/wire.md, Allocation",
  },
} as const satisfies Record<string, Omit<Invariant, "name">>;

export type InvariantName = keyof typeof invariants;

/** An invariant that did not hold. */
export interface Violation {
  readonly invariant: InvariantName;
  readonly node: string;
  /** Milliseconds since the start. */
  readonly at: number;
  readonly detail: string;
}
