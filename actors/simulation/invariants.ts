/**
 * What must hold in every run: each invariant with its name, its sentence and its source.
 *
 * @module
 */

/** An invariant. */
export interface Invariant {
  readonly name: string;
  readonly sentence: string;
  /** The page and heading that require it; `ours` where this project does. */
  readonly source: string;
}

/** All invariants, by name. */
export const invariants = {
  "verified-only": {
    sentence:
      "No message above the gate comes from a peer that does not verify under the node's current trust and time.",
    source: "docs/specification.md: mTLS Handshake; Organizational Trust Boundaries",
  },
  "revoked-is-revoked": {
    sentence:
      "A peer that a node's newest lists revoke, or whose certificate ended by the node's clock, is not established there one second later; a clock that jumped adds half a minute.",
    source: "docs/specification.md: Certificate Revocation Lists (CRLs)",
  },
  "no-bystander": {
    sentence: "No peer with a good certificate is refused or disconnected for it.",
    source: "docs/specification.md: Certificate Chain Validation",
  },
  "identity-of-connection": {
    sentence: "A request or a stream counts with the identity that its own connection proved.",
    source: "ours",
  },
  "act-only-by-role": {
    sentence: "An act is done only for a member whose role may do it, and a second after the rules deny it, no more.",
    source: "ours",
  },
  "members-told": {
    sentence: "A node's roles are told of every member that is connected, of its end, and of no other.",
    source: "ours",
  },
  "rules-hold": {
    sentence:
      "A second after a node's configuration changed, nothing is done that its rules deny; a file that does not load takes no rule away.",
    source: "docs/security.md: What a member may do",
  },
  "record-owner": {
    sentence: "A record is kept and found under the publisher that sent it, and no other owner takes over its key.",
    source: "docs/wire.md: Data sets",
  },
  "direct-first": {
    sentence: "No stream is opened over a relay to a peer with a direct connection.",
    source: "ours",
  },
  "previous-pair-ends": {
    sentence: "Where previous certificates end by time, no connection that was made with one outlives that time.",
    source: "ours",
  },
  "places-return": {
    sentence: "A stream that is over leaves its place to the next one of its connection.",
    source: "ours",
  },
  "cost-bounded": {
    sentence:
      "What a node does for one member, holds for it and lets it open stays within the member's allowance, and no honest member is refused because it costs too much.",
    source: "docs/security.md: What a member may do",
  },
  "marks-kept": {
    sentence: "The number of a revocation list that a node wrote down never decreases.",
    source: "ARCHITECTURE.md: Policy",
  },
  "promised-once": {
    sentence: "A worker's leases, and offers that reserve, together never exceed what it has.",
    source: "docs/wire.md: Allocation",
  },
  "one-holder": {
    sentence: "A lease has one holder from its beginning to its end; no other peer renews it.",
    source: "docs/wire.md: Allocation",
  },
  "lease-kept": {
    sentence:
      "A lease lives until the time that its worker announced last, and no longer, whatever clocks are set to; it is renewed while no trouble touches its worker and its holder.",
    source: "docs/wire.md: Allocation",
  },
  "job-within-lease": {
    sentence: "No job runs longer than its lease, on the worker that granted it.",
    source: "docs/wire.md: Allocation",
  },
  "ends-once": {
    sentence: "Every job ends exactly once, with a reason where it failed.",
    source: "docs/wire.md: Extensions",
  },
  "slice-once": {
    sentence: "Every slice is assigned once in an epoch, and no slice that does not exist.",
    source: "docs/wire.md: Data sets",
  },
  "named-updates": {
    sentence: "The parameter server accepts updates only from the peers named in its job.",
    source: "docs/wire.md: Extensions",
  },
  "own-training": {
    sentence: "An update counts once, and only in the training and run of the job that wrote it.",
    source: "docs/wire.md: Extensions",
  },
  "waits-for-all": {
    sentence: "A round's mean contains an update of every peer that the job still names and that did not drop out.",
    source: "docs/wire.md: Extensions",
  },
  "counted-everywhere": {
    sentence:
      "An update counts only of a peer that its aggregator's newest job names, that the scheduler trains with and that has a job of it, or that left a short while ago; and the scheduler is told exactly of those that counted.",
    source: "docs/wire.md: Extensions",
  },
  "live-rounds": {
    sentence:
      "A training whose members are there, and which no trouble touches, makes a round within 40 seconds; one that lacks members waits no longer than `wait_s`.",
    source: "ours",
  },
  "live-newcomers": {
    sentence: "A newcomer to a training, which no trouble touches, is counted before three further rounds are over.",
    source: "ours",
  },
  "known-first": {
    sentence: "A trainer is sent its job when its aggregator knows that it sends it results.",
    source: "ours",
  },
  "run-rises": {
    sentence: "A restarted scheduler takes a higher run than each before.",
    source: "docs/wire.md: Extensions",
  },
  "rounds-kept": {
    sentence:
      "A scheduler that starts again, also after a loss of power, goes on after the last round that was finished.",
    source: "docs/wire.md: Extensions",
  },
  "checkpoint-first": {
    sentence:
      "No trainer has the result of a round before the scheduler that keeps the model has the round on its disk, so that no loss of power takes it.",
    source: "docs/wire.md: Extensions",
  },
  "equal-parameters": {
    sentence: "After a round a trainer's parameters are bit for bit those that its scheduler keeps.",
    source: "docs/wire.md: Extensions",
  },
  "submitted-kept": {
    sentence: "A scheduler knows every training that was submitted to it, also after a restart or a loss of power.",
    source: "docs/training.md: A job",
  },
  "queue-turns": {
    sentence:
      "Of a scheduler's trainings one at a time looks for its first workers, the oldest first, and holds none for longer than its turn.",
    source: "docs/training.md: A job",
  },
  "mean-right": {
    sentence: "The result is the outer step on the mean of exactly the round's updates.",
    source: "docs/wire.md: DiLoCo",
  },
  "refusal-recorded": {
    sentence: "Every refusal is counted once and leaves exactly one record.",
    source: "docs/refusals.md",
  },
  "refused-is-closed": {
    sentence: "A refused or closed connection is closed at once.",
    source: "docs/specification.md: mTLS Handshake",
  },
  "handshake-deadline": {
    sentence: "No connection stays without a verdict longer than the deadlines.",
    source: "ours",
  },
  "redial-paced": {
    sentence: "An unreachable gateway is dialled at growing intervals.",
    source: "ours",
  },
  "lists-travel": {
    sentence: "Two nodes that stayed linked for ten seconds after the troubles have the same revocation lists.",
    source: "ours",
  },
  "nothing-left-open": {
    sentence:
      "Ten seconds after troubles and jobs are over, each node was seen without an exchange, a stream, a dial, a verification and a half-open connection.",
    source: "ours",
  },
  "bounded": {
    sentence: "Nothing grows without bound: connections, exchanges, timers.",
    source: "ours",
  },
  "no-crash": {
    sentence: "No machine ends with an error; no process ends for a reason other than its files or its orderly end.",
    source: "ours",
  },
  "live-network": {
    sentence: "When the troubles end, honest, valid nodes are connected to every honest, valid gateway that they name.",
    source: "ours",
  },
  "live-job": {
    sentence: "When the troubles end, the job is done or has failed with a reported reason.",
    source: "ours",
  },
  "live-lease": {
    sentence: "When a scheduler is gone, or a newer run of it began, its workers' resources become free.",
    source: "docs/wire.md: Allocation",
  },
  "approved-by-k": {
    sentence:
      "An operation that waits for approvals is executed only with signatures of enough persons who were listed then, and what it issues is what they signed.",
    source: "docs/ca.md: Approvals by several persons",
  },
  "signed-by-token": {
    sentence: "Every certificate that the CA gives has a signature that the token with its key made.",
    source: "docs/hardware-keys.md: When a token fails",
  },
  "signed-by-identity": {
    sentence: "A node whose identity is in a token gets certificates for a signature of that token alone.",
    source: "docs/ca.md: Identities in hardware",
  },
  "one-token-one-key": {
    sentence: "A token has one key and one certificate, however often and by whomever it is used.",
    source: "docs/ca.md: Enrol a node",
  },
  "one-successor": {
    sentence: "A certificate is renewed for one key, by one certificate until that has ended.",
    source: "docs/ca.md: Renew",
  },
  "role-from-token": {
    sentence: "The names of a certificate are those of its token, or of the certificate that it renews.",
    source: "docs/ca.md: Enrol a node",
  },
  "revoked-not-served": {
    sentence: "The CA issues nothing for a revoked certificate or one that descends from it.",
    source: "docs/ca.md: Revoke",
  },
  "revoked-not-established": {
    sentence: "Two seconds after a node's lists revoke a certificate, no connection with it is established there.",
    source: "docs/specification.md: Certificate Revocation Lists (CRLs)",
  },
  "learned-only-revokes": {
    sentence: "A list that a node learned refuses no certificate that it does not revoke.",
    source: "ours",
  },
  "list-number-kept": {
    sentence: "The number of the list in force, and of the mark on disk, never decreases.",
    source: "ARCHITECTURE.md: Policy",
  },
  "list-reaches": {
    sentence:
      "A neighbour has a list two seconds after a node that it is linked with, five seconds after a trouble of theirs; a node that fetches has it 80 s after it was published.",
    source: "ours",
  },
  "renewed-in-time": {
    sentence:
      "No certificate ends whose node could reach the CA, without a break, for as long as a wait between two attempts may take in the last third of its life.",
    source: "ours",
  },
  "pair-usable": {
    sentence: "The key of a certificate on disk lies beside it within three seconds, and is never lost.",
    source: "ours",
  },
  "secret-kept": {
    sentence: "A token is sent to a server with role ca under the token's root, and to no other.",
    source: "ours",
  },
  "fork-found": {
    sentence:
      "A witness finds within one period that a log shrank, was rewritten or changed its key below the state that it holds; two connected witnesses find within one period that they are shown two logs.",
    source: "docs/audit.md: Witnesses",
  },
  "honest-log": {
    sentence: "No witness accuses a log that only grew.",
    source: "docs/audit.md: Witnesses",
  },
} as const satisfies Record<string, Omit<Invariant, "name">>;

export type InvariantName = keyof typeof invariants;

/** A violated invariant. */
export interface Violation {
  readonly invariant: InvariantName;
  readonly node: string;
  /** Milliseconds since the start. */
  readonly at: number;
  readonly detail: string;
}
