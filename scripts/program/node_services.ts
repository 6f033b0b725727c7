/**
 * The services of a command line: those of the actors, standard input and output, and the terminal. The Node services of
 * `@effect/platform-node` without its HTTP client, its workers and its Redis client, which cost an installation 18 MB.
 *
 * @module
 */
import * as NodeStdio from "@effect/platform-node-shared/NodeStdio";
import * as NodeTerminal from "@effect/platform-node-shared/NodeTerminal";
import { Layer } from "effect";
import type { Stdio } from "effect/Stdio";
import type { Terminal } from "effect/Terminal";
import type { Services } from "../../actors/runtime/ports.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";

/** All of them. */
export const nodeServices: Layer.Layer<Services | Stdio | Terminal> = Layer.mergeAll(
  realServices,
  NodeStdio.layer,
  NodeTerminal.layer,
);
