/**
 * The loop without a network: `ELEMENTS for MS` prints how many passes fit into that time, `ELEMENTS PASSES ROUNDS` how long a round of so
 * many passes takes, in milliseconds.
 *
 * @module
 */
import process from "node:process";
import { passesIn, trainFor } from "./loop.ts";

const [elements = "", how = "", count = ""] = process.argv.slice(2);
const weights = new Float32Array(Number(elements)).fill(0.125);
// Compiled, and every page of the memory is there.
trainFor(weights, 2);
if (how === "for") console.log(passesIn(weights, Number(count)));
else {
  const began = performance.now();
  for (let round = 0; round < Number(count); round++) trainFor(weights, Number(how));
  console.log((performance.now() - began) / Number(count));
}
