/**
 * Where a program's operator reaches it.
 *
 * @module
 */
import { join } from "node:path";

/** The socket of a program with this state directory. */
export const adminSocketPath = (stateDir: string): string => join(stateDir, "admin.sock");
