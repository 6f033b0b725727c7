/**
 * Checks the version of Node before any other module loads. An old Node fails inside a package, with an unclear error.
 *
 * @module
 */
import process from "node:process";

/** The oldest Node that runs the programs: `engines` of package.json. */
export const nodeMin = "22.19";

/** Whether a version is at least another; the first two numbers count. */
export function isAtLeast(version: string, min: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const [majorMin = 0, minorMin = 0] = min.split(".").map(Number);
  return major > majorMin || (major === majorMin && minor >= minorMin);
}

/** Ends the process with one line where its Node is too old. The check does not apply to Deno. */
export function requireNode(program: string): void {
  const { node, deno } = process.versions as { readonly node?: string; readonly deno?: string };
  if (deno !== undefined || isAtLeast(node ?? "", nodeMin)) return;
  process.stderr.write(
    `Cannot run ${program}: it needs Node ${nodeMin} or newer, and this is Node ${node}: ` +
      "install it from https://nodejs.org/en/download\n",
  );
  process.exit(1);
}
