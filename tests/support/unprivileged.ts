/**
 * Gives up the superuser's rights for a while, so that closed files and folders are closed to a test that runs as root.
 *
 * @module
 */
import process from "node:process";

/** The user `nobody` of every Linux: owner of nothing. */
const nobody = 65_534;

/** Runs work as a user from whom permissions keep files. The whole process changes its user meanwhile. */
export async function unprivileged<A>(work: () => Promise<A>): Promise<A> {
  if (process.geteuid?.() !== 0) return await work();
  process.seteuid!(nobody);
  try {
    return await work();
  } finally {
    process.seteuid!(0);
  }
}
