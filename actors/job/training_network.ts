/**
 * The network of a job that belongs to a training: what the job sends names the training, and it receives that training's files
 * only. The worker does this, never the executor.
 *
 * @module
 */
import type { PushLabel, TrainingKey, TrainingRun, Uuid } from "../../transport/protocols/messages.ts";
import type { JobNetwork } from "./network.ts";

/** The network of a job; unchanged where its scheduler names no training. */
export function networkOf(network: JobNetwork, training: TrainingKey | undefined): JobNetwork {
  if (training === undefined) return network;
  const run: TrainingRun = { id: training.id, run: training.run };
  return {
    training,
    request: (peer, protocol, message, timeoutMs) =>
      network.request(peer, protocol, withTraining(message, run), timeoutMs),
    openStream: (peer, protocols, timeoutMs) => network.openStream(peer, protocols, timeoutMs),
    receive: (options) => network.receive({ ...options, training }),
  };
}

/** Adds the training to a message that has a place for it. */
function withTraining<Request extends object>(message: Request, training: TrainingRun): Request {
  if ("progress" in message) return { ...message, training };
  if ("Data" in message) return { ...message, Data: { ...(message.Data as object), training } };
  return message;
}

/** What a file that a job pushes belongs to; undefined where the job has no training. */
export function labelOf(
  { training }: JobNetwork,
  push: { readonly job: Uuid; readonly round: number; readonly samples?: number },
): PushLabel | undefined {
  if (training === undefined) return undefined;
  const { scheduler, id, run } = training;
  return { scheduler, training: id, run, ...push };
}
