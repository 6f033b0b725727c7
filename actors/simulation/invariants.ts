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
    source: "security.md, mTLS Handshake; Organizational Trust Boundaries",
  },
  "revoked-is-revoked": {
    sentence: "A peer that the newest lists here revoke is not established here, a second after they came.",
    source: "security.md, Certificate Revocation Lists (CRLs)",
  },
  "no-bystander": {
    sentence: "Nobody is refused or dropped for a certificate that is good.",
    source: "security.md, Certificate Chain Validation",
  },
  "marks-kept": {
    sentence: "The number of a revocation list that a node wrote down never goes back.",
    source: "membership.md, Revocation that travels",
  },
  "promised-once": {
    sentence: "A worker's offers and leases together never exceed what it has.",
    source: "wire.md, Allocation",
  },
  "one-holder": {
    sentence: "A lease has one holder from its beginning to its end, and nobody else renews it.",
    source: "wire.md, Allocation",
  },
  "lease-kept": {
    sentence: "A lease lives as long as its giver last said it would.",
    source: "wire.md, Allocation",
  },
  "job-within-lease": {
    sentence: "No job runs past its lease on the worker that gave it.",
    source: "wire.md, Allocation",
  },
  "ends-once": {
    sentence: "Every job ends exactly once, with a reason where it failed.",
    source: "contracts.md, Extensions of the wire",
  },
  "slice-once": {
    sentence: "Every slice is handed out once an epoch, and none that does not exist.",
    source: "wire.md, Data sets",
  },
  "named-updates": {
    sentence: "The parameter server takes updates only from the peers named in its job.",
    source: "contracts.md, Extensions of the wire",
  },
  "waits-for-all": {
    sentence: "A round's mean is made of an update of every peer that the job still names and that did not drop out.",
    source: "contracts.md, Extensions of the wire",
  },
  "mean-right": {
    sentence: "The result is the outer step on the mean of exactly the round's updates.",
    source: "wire.md, DiLoCo",
  },
  "refusal-recorded": {
    sentence: "Every refusal is counted once, and leaves exactly one record.",
    source: "contracts.md, Refusal codes",
  },
  "refused-is-closed": {
    sentence: "A refused or closed connection is closed at once.",
    source: "security.md, mTLS Handshake",
  },
  "handshake-deadline": {
    sentence: "No connection stays without a verdict for longer than the deadlines.",
    source: "targets.md, R7",
  },
  "redial-paced": {
    sentence: "A gateway that cannot be reached is dialled at growing intervals.",
    source: "design.md, Roots",
  },
  "nothing-left-open": {
    sentence:
      "Ten seconds after troubles and jobs are over, no node holds an exchange, a stream, a dial, a verification or a half-open connection.",
    source: "ARCHITECTURE.md, Actors",
  },
  "bounded": {
    sentence: "Nothing grows without bound: connections, exchanges, timers.",
    source: "style.md; targets.md, R8",
  },
  "no-crash": {
    sentence: "No machine dies of an error, and no process ends for another reason than its files or its end.",
    source: "targets.md, R8 and R16",
  },
  "live-network": {
    sentence: "When the troubles end, honest, valid nodes are connected to every honest, valid gateway that they name.",
    source: "targets.md, R16",
  },
  "live-job": {
    sentence: "Once trouble stops, the job is done, or has failed for a reason that is said.",
    source: "targets.md, R16",
  },
  "live-lease": {
    sentence: "Once its scheduler is gone, a worker's resources come back.",
    source: "wire.md, Allocation",
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
