/**
 * Builds and packs the npm package, installs the tarball in an empty folder, and uses it from there: every export on
 * Node and on Deno, every program.
 *
 * @module
 */
import { cpSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runCommand } from "./command.ts";
import { nodeReporting, type OldNode, systemOldNode } from "./old_node.ts";
import { linksOutside } from "./package_links.ts";
import { findRuntime, type Runtime, startable } from "./runtimes.ts";

/** One trial and its error. */
interface SmokeResult {
  readonly what: string;
  readonly error: string | undefined;
}

const timeoutMs = 180_000;
/** Octets of all files that an installation writes, of other packages too. */
const installedBytesMax = 80_000_000;

const binary = (runtime: Runtime) => startable(findRuntime(runtime) ?? runtime);

interface Manifest {
  readonly name: string;
  readonly files: readonly string[];
  readonly exports: Readonly<Record<string, unknown>>;
  readonly bin: Readonly<Record<string, string>>;
}

/** Copies what the package holds besides `dist/`, and what npm reads to pack it. */
function layDocuments(folder: string): Manifest {
  const manifest = JSON.parse(readFileSync("package.json", "utf8")) as Manifest;
  const names = manifest.files.filter((name) => name !== "dist");
  for (const name of ["package.json", ".gitignore", ...names]) cpSync(name, join(folder, name), { recursive: true });
  return manifest;
}

function importer(manifest: Manifest): string {
  const names = Object.keys(manifest.exports)
    .filter((path) => path !== "./package.json")
    .map((path) => manifest.name + path.slice(1));
  return `for (const name of ${JSON.stringify(names)}) {
  const module = await import(name);
  if (Object.keys(module).length === 0) throw new Error("nothing exported by " + name);
}
process.exit(0);
`;
}

function checkSize(folder: string): SmokeResult {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const bytes = files.reduce((sum, { parentPath, name }) => sum + lstatSync(join(parentPath, name)).size, 0);
  const error = bytes <= installedBytesMax ? undefined : `it has ${bytes}`;
  return { what: `an installation has at most ${installedBytesMax / 1e6} MB`, error };
}

/** An installed program on a Node that is too old: one line that names both versions, and exit 1. */
async function tryOld(
  { command: [node, ...flags], version }: OldNode,
  program: string,
  cwd: string,
): Promise<SmokeResult> {
  const { code, stdout, stderr } = await runCommand(node, [...flags, program, "--help"], { cwd, timeoutMs });
  const says = /^Cannot run [^\n]+ needs Node [^\n]+\n$/.test(stderr) && stderr.includes(`this is Node ${version}`);
  const error = code === 1 && stdout === "" && says ? undefined : `exit ${code}\n${stdout}${stderr}`;
  return { what: `${program} on Node ${version} names the version that it needs`, error };
}

/** Tries the package as its users would. */
export async function smokePackage(runtimes: readonly Runtime[]): Promise<SmokeResult[]> {
  const results: SmokeResult[] = [];
  const folder = mkdtempSync(join(tmpdir(), "hypha-package-"));
  const attempt = async (what: string, command: string, args: readonly string[], cwd?: string) => {
    const result = await runCommand(command, args, { timeoutMs, ...(cwd === undefined ? {} : { cwd }) });
    const error = result.code === 0 ? undefined : `exit ${result.code}\n${result.stdout}${result.stderr}`;
    results.push({ what, error });
    return error === undefined;
  };
  try {
    // Not in the clone: another process may use its dist/.
    const packed = join(folder, "packed");
    const manifest = layDocuments(packed);
    const buildArgs = ["--no-warnings", "scripts/build.ts", "--out", join(packed, "dist")];
    if (!(await attempt("build", binary("node"), buildArgs))) return results;
    const packArgs = ["pack", "--ignore-scripts", "--pack-destination", folder];
    if (!(await attempt("pack", "npm", packArgs, packed))) return results;
    const tarball = readdirSync(folder).find((name) => name.endsWith(".tgz"));
    if (tarball === undefined) return [...results, { what: "pack", error: "no tarball was written" }];
    writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }));
    writeFileSync(join(folder, "import.mjs"), `import process from "node:process";\n${importer(manifest)}`);
    const install = ["install", `./${tarball}`, "--no-audit", "--no-fund", "--prefer-offline", "--loglevel=error"];
    if (!(await attempt("install the tarball in an empty folder", "npm", install, folder))) return results;
    const outside = linksOutside(join(folder, "node_modules", manifest.name));
    const links = outside.length === 0
      ? undefined
      : `not in the tarball (files of package.json): ${outside.join(", ")}`;
    results.push({ what: "the tarball holds what its pages link to", error: links });
    results.push(checkSize(join(folder, "node_modules")));
    for (const runtime of runtimes) {
      const args = runtime === "node" ? ["import.mjs"] : ["run", "-A", "--no-check", "import.mjs"];
      await attempt(`import every export from ${runtime}`, binary(runtime), args, folder);
    }
    const node = binary("node");
    for (const [name, path] of Object.entries(manifest.bin)) {
      await attempt(`${name} --help on node`, node, [join("node_modules", ".bin", name), "--help"], folder);
      if (!runtimes.includes("deno")) continue;
      const program = ["run", "-A", "--no-check", join("node_modules", manifest.name, path), "--help"];
      await attempt(`${name} --help on deno`, binary("deno"), program, folder);
    }
    const old = systemOldNode() ?? nodeReporting("20.20.2");
    for (const path of Object.values(manifest.bin)) {
      results.push(await tryOld(old, join("node_modules", manifest.name, path), folder));
    }
    const issue = ["gen-ca", "--out-cert", "ca.pem", "--out-key", "ca-key.pem", "--common-name", "Smoke"];
    const certutil = join("node_modules", ".bin", "hypha-certutil");
    await attempt("the installed hypha-certutil makes a CA", node, [certutil, ...issue], folder);
    await attempt("and inspects it", node, [certutil, "inspect", "ca.pem"], folder);
    return results;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
