/**
 * A training as it is submitted over the admin socket: its line, then its files.
 *
 * @module
 */

const part = { cpu: 1, memory: 1, storage: 1, gpu: 0 };
const price = { bid: 1, max: 2 };
/** A job of one trainer with weights. */
export const submittedJob = {
  type: "diloco",
  model: { weights: "init.safetensors", type: "image-classification", input_names: ["x"] },
  dataset: { dataset: "digits" },
  inner_optimizer: { "learning-rate": 0.1 },
  outer_optimizer: { "learning-rate": 0.7, momentum: 0.9 },
  resources: {
    num_workers: 1,
    worker: part,
    parameter_server: part,
    worker_price: price,
    parameter_server_price: price,
  },
  rounds: { update_rounds: 2, avg_samples_between_updates: 10 },
};

/** The body in pieces of so many bytes. */
export async function* bodyOf(line: unknown, files: Uint8Array, pieceBytes = 7): AsyncGenerator<Uint8Array> {
  const first = new TextEncoder().encode(typeof line === "string" ? line : `${JSON.stringify(line)}\n`);
  const all = new Uint8Array([...first, ...files]);
  for (let at = 0; at < all.length; at += pieceBytes) yield await Promise.resolve(all.subarray(at, at + pieceBytes));
}

/** The body of {@linkcode submittedJob} with these weights. */
export const submissionOf = (weights: Uint8Array): AsyncGenerator<Uint8Array> =>
  bodyOf({ name: "digits", job: submittedJob, weights: weights.length }, weights, 4_096);
