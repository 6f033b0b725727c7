/**
 * Keeps the memory small that a program's start leaves behind.
 *
 * @module
 */
import { setFlagsFromString } from "node:v8";

/**
 * Stops V8's young generation from growing, before the program's modules are loaded: their garbage lets it grow to 48 MB, which V8 keeps
 * and never returns to the system. For a program that is idle most of the time: short-lived objects are collected more often. Measured on
 * Node with `hypha-ca run` from the tree: 202 MB resident before, 155 MB with it. Deno returns its memory; nothing changes there.
 */
export function keepHeapSmall(): void {
  if (!("Deno" in globalThis)) setFlagsFromString("--semi-space-growth-factor=1");
}
