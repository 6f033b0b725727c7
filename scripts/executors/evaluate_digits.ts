#!/usr/bin/env node
/**
 * Evaluates a perceptron on digits for a scheduler: reads `parameters.safetensors` and the rows in `held_out/`, and writes its accuracy
 * into `result.json`.
 *
 * @module
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import * as Result from "effect/Result";
import { decodeTensors } from "../../actors/learning/safetensors.ts";
import { parseDigits } from "./digits.ts";
import { accuracy, modelOf } from "./model.ts";

const folder = process.env["WORK_DIR"] ?? ".";

function measure(): number {
  const parameters = Result.getOrThrow(decodeTensors(readFileSync(join(folder, "parameters.safetensors"))));
  const files = readdirSync(join(folder, "held_out")).map((name) =>
    readFileSync(join(folder, "held_out", name), "utf8")
  );
  const rows = files.flatMap((text) => Result.getOrThrow(parseDigits(text)));
  if (rows.length === 0) throw new Error("Cannot evaluate: the held-out files have no rows");
  return accuracy(Result.getOrThrow(modelOf(parameters)), rows);
}

// As process 1 of a namespace a signal without a handler would be ignored.
process.on("SIGTERM", () => process.exit(143));

try {
  writeFileSync(join(folder, "result.json"), JSON.stringify({ metrics: { accuracy: measure() } }));
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
