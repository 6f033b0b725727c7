/**
 * The transport's twin over a virtual network.
 *
 * @module
 */
export * from "./network.ts";
export * from "./simulated.ts";
export type { GatedLink } from "./links.ts";
