/**
 * A program that starts a token's process, for a test of an ordinary user: prints who owns that process's files before and after it loaded a
 * module.
 *
 * @module
 */
import { once } from "node:events";
import { statSync } from "node:fs";
import process from "node:process";
import { startTokenChild } from "../../actors/pkcs11/start_token_child.ts";

const child = startTokenChild();
const owner = () => statSync(`/proc/${child.pid}/maps`).uid;
const before = owner();
child.stdin!.write(`${JSON.stringify({ op: "open", module: "/none.so", token: { label: "acme" } })}\n`);
await once(child.stdout!, "data");
console.log(`before: ${before}, open: ${owner()}`);
process.exit(0);
