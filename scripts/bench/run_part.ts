/**
 * Measures one part on the runtime that runs this, and prints its rows as JSON. Arguments: the part, `--quick`, `--nodes N`.
 *
 * @module
 */
import process from "node:process";
import { type PartName, parts } from "./parts.ts";

const [part, ...flags] = process.argv.slice(2);
const { measure } = await parts[part as PartName]();
const nodes = flags.includes("--nodes") ? { nodes: Number(flags[flags.indexOf("--nodes") + 1]) } : {};
const rows = JSON.stringify(await measure({ quick: flags.includes("--quick"), ...nodes }));
// A BroadcastChannel of libp2p's would keep Deno alive.
process.stdout.write(rows, () => process.exit(0));
