/**
 * The gateway's program with a bug: once it runs, an error is thrown that nobody catches.
 *
 * @module
 */
import process from "node:process";

const timer = setInterval(() => {
  if (process.listenerCount("uncaughtException") === 0) return;
  clearInterval(timer);
  throw new Error("boom");
}, 50);

await import("../../scripts/hypha_gateway.ts");
