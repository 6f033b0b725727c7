/**
 * The parent of a token's process, for a test that kills it: starts the process with a module, and prints its number.
 *
 * @module
 */
import process from "node:process";
import { startTokenChild } from "../../actors/pkcs11/start_token_child.ts";

const [module] = process.argv.slice(2);
const child = startTokenChild();
child.stdin?.write(`${JSON.stringify({ op: "open", module, token: { label: "acme" } })}\n`);
console.log(`${child.pid}`); // a text: Deno gives numbers colours
