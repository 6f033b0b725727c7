/**
 * Writes the parameters that a built-in model begins with, as weights of a training:
 * `node scripts/executors/initial_weights.ts builtin/mlp-64-32-10 seed-7 init.safetensors`.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import process from "node:process";
import { Result } from "effect";
import { encodeTensors } from "../../actors/learning/mod.ts";
import { builtinModel } from "./model.ts";

const [repository = "", revision = "", out = ""] = process.argv.slice(2);
const model = builtinModel(repository, revision);
if (out === "" || Result.isFailure(model)) {
  const why = Result.isFailure(model) ? model.failure.message : "name a file to write";
  process.stderr.write(`usage: initial_weights.ts MODEL REVISION FILE: ${why}\n`);
  process.exit(2);
}
writeFileSync(out, encodeTensors(model.success.parameters));
