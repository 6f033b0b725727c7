/**
 * Hypha: permissioned peer-to-peer compute networks. Everything public, re-exported.
 *
 * @module
 */
export * as pki from "./pki/mod.ts";
export * as transport from "./transport/mod.ts";
export * as actors from "./actors/mod.ts";
