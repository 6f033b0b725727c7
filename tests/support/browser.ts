/**
 * A browser for tests: the system's chromium, without a window.
 *
 * @module
 */
import { type Browser, chromium } from "playwright-core";
import { findProgram } from "../../scripts/check/prerequisites.ts";

/** Starts it. As root, which containers are, chromium starts without its sandbox only. */
export function startBrowser(): Promise<Browser> {
  const executablePath = findProgram("chromium");
  if (executablePath === undefined) throw new Error("Cannot start a browser: chromium is not in PATH");
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--enable-precise-memory-info"] });
}
