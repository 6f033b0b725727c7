/** `hypha-ca` as a program, in a folder of its own. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { type Ended, runProgramOnce } from "./program.ts";

/** The program. */
export const caScript = new URL("../../scripts/hypha_ca.ts", import.meta.url);

/** A place in which commands run; the CA lies in its folder `ca`. Remove it in the end. */
export function caPlace(name: string) {
  const folder = mkdtempSync(join(tmpdir(), `hypha-ca-${name}-`));
  const command = (...args: readonly string[]): Promise<Ended> =>
    runProgramOnce("gateway", args, { script: caScript, cwd: folder });
  return {
    folder,
    command,
    /** A file of the CA. */
    file: (path: string) => join(folder, "ca", path),
    /** Runs a command that succeeds. Returns what it printed. */
    done: async (...args: readonly string[]): Promise<string> => {
      const { code, stdout, stderr } = await command(...args);
      assert.is(code, 0, stderr);
      return stdout.trim();
    },
  };
}
