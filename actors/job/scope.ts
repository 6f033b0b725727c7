/**
 * A job's scope: the references and peers that its specification names.
 *
 * @module
 */
import type { HuggingfaceReference, JobSpec, Peer, Reference } from "../../transport/protocols/messages.ts";

/** The scope of one job. */
export interface JobScope {
  /** Whether the specification names a reference. */
  fetches(reference: Reference): boolean;
  /** Whether files may be sent to a peer. */
  sendsTo(peer: Peer): boolean;
  /** The peers whose files may be received. */
  readonly receivesFrom: readonly Peer[];
}

/** The scope of a specification. */
export function scopeOf({ executor }: JobSpec): JobScope {
  if (executor.class === "aggregate") {
    const { updates, results } = executor.config;
    return {
      fetches: () => false,
      sendsTo: (peer) => results.peers.includes(peer),
      receivesFrom: updates.peers,
    };
  }
  const { model, data, preprocessor, updates, results } = executor.config;
  const named = [model.artifact, data, ...(preprocessor == null ? [] : [preprocessor.artifact])];
  return {
    fetches: (reference) => named.some((allowed) => covers(allowed, reference)),
    sendsTo: (peer) => updates.peers.includes(peer),
    receivesFrom: results.peers,
  };
}

/** Whether `asked` equals `allowed`, or is a part of it. */
function covers(allowed: Reference, asked: Reference): boolean {
  switch (allowed.type) {
    case "uri":
      return asked.type === "uri" && asked.value === allowed.value;
    case "huggingface":
      return asked.type === "huggingface" && isPartOf(asked, allowed);
    case "scheduler":
      return asked.type === "scheduler" && asked.peer === allowed.peer && asked.dataset === allowed.dataset;
    case "peers":
      return asked.type === "peers" && asked.peers.every((peer) => allowed.peers.includes(peer));
  }
}

function isPartOf(asked: HuggingfaceReference, allowed: HuggingfaceReference): boolean {
  return asked.repository === allowed.repository && (asked.revision ?? "main") === (allowed.revision ?? "main") &&
    asked.filenames.every((name) => allowed.filenames.includes(name));
}
