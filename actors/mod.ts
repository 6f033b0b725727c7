/**
 * The actors of a node, for those who embed one or read its machines.
 *
 * @module
 */
export * from "./ports.ts";
export * from "./effect_actor.ts";
export * from "./supervise.ts";
