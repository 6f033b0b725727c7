/**
 * A token of SoftHSM in a temporary folder. Its module finds it by a variable of the environment, which processes inherit.
 *
 * @module
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";

/** A token. */
export interface SoftToken {
  /** Its folder; the token's own files are in `tokens`. */
  readonly dir: string;
  /** The file with the PIN. */
  readonly pinFile: string;
  /** The URI of a key. */
  uri(object: string): string;
  remove(): void;
}

/** SoftHSM's module, where Debian and Fedora have it. */
export const softModule =
  ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"].find((path) => existsSync(path)) ??
    "/usr/lib/softhsm/libsofthsm2.so";

/** Makes an initialised token with the label `acme` and the PIN 1234; with `none`, the place for one. */
export function makeSoftToken(initialised: "acme" | "none" = "acme"): SoftToken {
  const dir = mkdtempSync(join(tmpdir(), "token-"));
  mkdirSync(join(dir, "tokens"));
  const config = join(dir, "softhsm2.conf");
  writeFileSync(
    config,
    `directories.tokendir = ${join(dir, "tokens")}\nobjectstore.backend = file\nlog.level = ERROR\n`,
  );
  process.env["SOFTHSM2_CONF"] = config;
  if (initialised === "acme") initToken();
  const pinFile = join(dir, "pin");
  writeFileSync(pinFile, "1234\n", { mode: 0o600 });
  return {
    dir,
    pinFile,
    uri: (object) => `pkcs11:token=acme;object=${object}?module-path=${softModule}&pin-source=file:${pinFile}`,
    remove: () => rmSync(dir, { recursive: true, force: true }),
  };
}

/** Makes a token with the label `acme` and the PIN 1234 in the folder `tokens`. */
export function initToken(): void {
  const pins = ["--so-pin", "5678", "--pin", "1234"];
  execFileSync("softhsm2-util", ["--init-token", "--free", "--label", "acme", ...pins]);
}
