/**
 * A data node in a process of its own: `data_process.ts DATASET FILES`, FILES being its certificate and lists as JSON. Prints
 * its address once it serves.
 *
 * @module
 */
import process from "node:process";
import { dataMachine } from "../../../actors/data/data.ts";
import { makePorts } from "../../program/ports.ts";
import { startTransportEnd } from "./transport_end.ts";

const [datasetPath = "", files = "{}"] = process.argv.slice(2);
const end = await startTransportEnd(JSON.parse(files), true);
const ports = makePorts(({ level, message }) => {
  if (level === "error") process.stderr.write(`${message}\n`);
});
end.play(dataMachine, { config: { role: "data", datasetPath }, ports, members: [] });
process.stdout.write(`${end.address}\n`);
