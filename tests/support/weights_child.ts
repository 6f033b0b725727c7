/** Looks for the weights of a repository that are there: for a process with the permissions of a node. Argument: their folder. */
import process from "node:process";
import { Effect } from "effect";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { weightsIn } from "../../actors/training/repository_weights.ts";

const [folder = ""] = process.argv.slice(2);
const kind = { type: "image-classification", inputNames: ["x"], keep: true };
const model = {
  ...kind,
  repository: "acme/model",
  revision: undefined,
  filenames: ["a.safetensors"],
  token: undefined,
};
console.log(await Effect.runPromise(Effect.provide(weightsIn({ folder, keepRounds: 1 }, model), realServices)));
