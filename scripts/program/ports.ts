/**
 * The ports of the programs: those of the library, over the real world.
 *
 * @module
 */
export { makePorts, type RealPorts } from "../../actors/runtime/real_ports.ts";
