/**
 * The wire of virtual time, and the transport over it.
 *
 * @module
 */
export * from "./connection.ts";
export * from "./directory.ts";
export * from "./network.ts";
export * from "./transport.ts";
export * from "./wire.ts";
