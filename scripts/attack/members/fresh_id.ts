/**
 * Identifiers of messages.
 *
 * @module
 */
import { makePorts } from "../../program/ports.ts";

/** A UUID that was never used. */
export const freshId: () => string = makePorts(() => {}).uuid;
