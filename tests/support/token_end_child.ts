/**
 * A program that gives up a token's process, for a test that looks whether that process ends: prints the numbers of the processes, then
 * a line without one, and goes on until it is killed.
 *
 * @module
 */
import process from "node:process";
import { startTokenChild } from "../../actors/pkcs11/start_token_child.ts";
import { TokenProcess } from "../../actors/pkcs11/token_process.ts";

const [module = ""] = process.argv.slice(2);
const token = new TokenProcess({
  open: { op: "open", module, token: { label: "acme" }, pin: undefined },
  name: "pkcs11:token=acme",
  timing: { answerMs: 500, startMs: 500, tryAgainMs: 60_000 },
  start: () => {
    const child = startTokenChild();
    console.log(`${child.pid}`);
    return child;
  },
});
await token.ask({ op: "find", key: { object: "ca" } }).catch(() => {});
console.log("given up");
setInterval(() => {}, 60_000);
