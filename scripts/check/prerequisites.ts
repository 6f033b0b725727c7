/**
 * Programs of the system that tests use, and how a machine gets them: `npm test` installs them where it can.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join } from "node:path";
import process from "node:process";
import { runCommand } from "./command.ts";
import { findRuntime } from "./runtimes.ts";

/** A program of the system, its Debian package, and the tests that need it. */
interface Prerequisite {
  readonly program: string;
  readonly package: string;
  readonly covers: string;
}

/** The programs that `npm test` installs. */
export const prerequisites: readonly Prerequisite[] = [
  { program: "bwrap", package: "bubblewrap", covers: "cells of levels full and root" },
  { program: "openssl", package: "openssl", covers: "what the openssl program reads and writes" },
  { program: "curl", package: "curl", covers: "enrolment with curl" },
  { program: "python3-venv", package: "python3-venv", covers: "executors in Python" },
  { program: "python3-yaml", package: "python3-yaml", covers: "the compose file" },
  { program: "pki", package: "strongswan-pki", covers: "enrolment with strongSwan" },
  { program: "systemd-analyze", package: "systemd", covers: "service units" },
  { program: "man", package: "man-db", covers: "pages for man" },
  { program: "softhsm2-util", package: "softhsm2", covers: "keys in tokens" },
  { program: "pkcs11-tool", package: "opensc", covers: "keys in tokens, made and listed by another program" },
  { program: "chromium", package: "chromium", covers: "the console in a browser" },
  { program: "promtool", package: "prometheus", covers: "alert rules" },
  { program: "pki-curl", package: "libstrongswan-extra-plugins", covers: "enrolment with strongSwan" },
  { program: "pki-openssl", package: "libstrongswan-standard-plugins", covers: "enrolment with strongSwan" },
];

/** An index is fetched, packages are fetched, or they are installed, within this, in milliseconds: a browser and what it needs are 100 MB. */
const installMs = 420_000;
/** Another apt-get may be at work: waited for, in seconds. */
const lockSeconds = 60;

/** The absolute path of a program in PATH; undefined where there is none. */
export function findProgram(program: string, path = process.env["PATH"] ?? ""): string | undefined {
  return path.split(delimiter).filter((folder) => folder !== "").map((folder) => join(folder, program)).find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return statSync(file).isFile();
    } catch {
      return false;
    }
  });
}

/** What Debian has in packages apart from Python: virtual environments, YAML. */
const pythonModules: Readonly<Record<string, string>> = { "python3-venv": "ensurepip, venv", "python3-yaml": "yaml" };

function hasPythonModules(modules: string): boolean {
  const python = findProgram("python3");
  return python !== undefined && spawnSync(python, ["-c", `import ${modules}`]).status === 0;
}

/** What Debian has in packages apart from strongSwan's `pki`: its plugins for HTTP, and for ciphers of TLS 1.3. */
const strongSwanPlugins: Readonly<Record<string, string>> = { "pki-curl": "curl", "pki-openssl": "openssl" };

function hasStrongSwanPlugin(plugin: string): boolean {
  const pki = findProgram("pki");
  if (pki === undefined) return false;
  const { stdout } = spawnSync(pki, ["--help"], { encoding: "utf8" });
  return /^loaded plugins: (.*)$/m.exec(stdout)?.[1]?.split(" ").includes(plugin) ?? false;
}

/**
 * Whether something that tests use is here: a program in PATH, what Debian has in packages apart from it, or (`node`,
 * `deno`) a pinned runtime.
 */
export function isThere(tool: string): boolean {
  const modules = pythonModules[tool];
  if (modules !== undefined) return hasPythonModules(modules);
  const plugin = strongSwanPlugins[tool];
  if (plugin !== undefined) return hasStrongSwanPlugin(plugin);
  return tool === "node" || tool === "deno" ? findRuntime(tool) !== undefined : findProgram(tool) !== undefined;
}

/** The prerequisites that this machine lacks. */
export function missingPrerequisites(): readonly Prerequisite[] {
  return prerequisites.filter(({ program }) => !isThere(program));
}

/** Whether this process has root's rights. */
export const isRoot = (): boolean => process.geteuid?.() === 0;

/**
 * Installs the missing programs with apt-get, if it exists and this user may; otherwise changes nothing.
 *
 * @param say Called with progress and with the reason of a failure.
 * @param mayInstall Whether this user may install packages.
 */
export async function installPrerequisites(say: (text: string) => void, mayInstall = isRoot()): Promise<void> {
  const packages = missingPrerequisites().map((missing) => missing.package);
  if (packages.length === 0 || !mayInstall || !isThere("apt-get")) return;
  say(`Installing ${packages.join(" ")} (apt-get) …`);
  const failure = await install(packages, say);
  if (failure !== undefined) say(`Cannot install ${packages.join(" ")}: ${failure}`);
}

/** What ended without success, with its code and its last words; undefined after a success. */
async function failureOf(program: string, args: readonly string[]): Promise<string | undefined> {
  const { code, stderr } = await runCommand(program, args, {
    env: { DEBIAN_FRONTEND: "noninteractive" },
    timeoutMs: installMs,
  });
  const reason = stderr.trim().split("\n").at(-1) ?? "";
  return code === 0 ? undefined : `${program} ended with ${code}${reason === "" ? "" : `: ${reason}`}`;
}

/** Installs packages; each thing that may stand in the way is removed once. Returns why they are not installed. */
async function install(packages: readonly string[], say: (text: string) => void): Promise<string | undefined> {
  const apt = (...args: readonly string[]) =>
    failureOf("apt-get", ["-o", `DPkg::Lock::Timeout=${lockSeconds}`, ...args]);
  // Their programs are missing: what counts as installed was installed half-way, or is damaged.
  const args = ["install", "--reinstall", "-y", "-qq", "--no-install-recommends", ...packages];
  // What takes long over a slow line is fetched first: that may be stopped when its time is over, dpkg may not.
  const attempt = async () => await apt("--download-only", ...args) ?? await apt(...args);
  const mends = {
    configure: () => {
      say("An earlier installation was interrupted: dpkg --configure -a finishes it first …");
      return failureOf("dpkg", ["--configure", "-a"]);
    },
    // A fresh image has no index of packages; an old index names versions that no longer exist.
    update: () => apt("update", "-qq"),
  };
  const tried = new Set<keyof typeof mends>();
  for (;;) {
    const failure = await attempt();
    if (failure === undefined) return undefined;
    const mend = failure.includes("dpkg was interrupted") ? "configure" : "update";
    if (tried.has(mend)) return failure;
    tried.add(mend);
    const left = await mends[mend]();
    if (left !== undefined) return left;
  }
}

/** The one command that gives this machine the packages. */
export function installCommand(packages: readonly string[]): string {
  if (!isThere("apt-get")) return `install ${packages.join(" and ")} with this system's package manager`;
  return `${isRoot() ? "" : "sudo "}apt-get install -y ${packages.join(" ")}`;
}
