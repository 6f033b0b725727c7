/**
 * A data node in a separate process: `data_process.ts DATASET FILES`, where FILES is its certificate and lists as JSON. Prints
 * its address when it serves.
 *
 * @module
 */
import process from "node:process";
import { dataMachine } from "../../../actors/data/data.ts";
import { makePorts } from "../../program/ports.ts";
import { boundYoungGeneration } from "../../program/small_heap.ts";
import { startTransportEnd } from "./transport_end.ts";

boundYoungGeneration();
const [datasetPath = "", files = "{}"] = process.argv.slice(2);
const end = await startTransportEnd(JSON.parse(files), true);
const ports = makePorts(({ level, message }) => {
  if (level === "error") process.stderr.write(`${message}\n`);
});
end.play(dataMachine, { config: { role: "data", datasetPath }, ports, members: [] });
process.stdout.write(`${end.address}\n`);
