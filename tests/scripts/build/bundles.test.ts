/** The programs and the library as bundles, made in a folder of their own and run from there. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { isBuiltin } from "node:module";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { apartBytesMin } from "../../../actors/files/read_crls.ts";
import { bundleLibrary, bundlePrograms, librarySources, readManifest } from "../../../scripts/build/bundles.ts";
import { helpTexts } from "../../../scripts/build/help.ts";
import { packageOf } from "../../../scripts/build/declarations.ts";
import { runCommand } from "../../../scripts/check/command.ts";
import { findRuntime, scriptCommand } from "../../../scripts/check/runtimes.ts";
import { makeTestPki } from "../../support/pki.ts";
import { runProgramOnce } from "../../support/program.ts";

const test = suite("bundles");
const root = resolve(".");
const folder = mkdtempSync(join(tmpdir(), "hypha-bundles-"));
const programs = join(folder, "programs");
writeFileSync(join(folder, "package.json"), JSON.stringify({ type: "module" }));
await bundlePrograms({ root, outdir: programs });
test.after(() => rmSync(folder, { recursive: true, force: true }));

function run(name: string, args: readonly string[]) {
  const [command, ...flags] = scriptCommand("Deno" in globalThis ? "deno" : "node");
  return runCommand(command, [...flags, join(programs, `${name}.js`), ...args], { cwd: folder, timeoutMs: 30_000 });
}

const configText = (files: string) =>
  [["cert_pem", "prober-cert.pem"], ["key_pem", "prober-key.pem"], ["trust_pem", "trust.pem"], ["crls_pem", "crls.pem"]]
    .map(([key, name = ""]) => `${key} = ${JSON.stringify(join(files, name))}\n`)
    .join("") + 'listen_addresses = ["/ip4/127.0.0.1/tcp/0"]\n';

/** Files of a folder with their contents. */
const contentsOf = (path: string) =>
  Object.fromEntries(readdirSync(path).sort().map((name) => [name, readFileSync(join(path, name), "utf8")]));

test("a second build writes the same bytes", async () => {
  const again = join(folder, "again");
  await bundlePrograms({ root, outdir: again });
  assert.equal(contentsOf(again), contentsOf(programs));
});

test("help is printed before a program is loaded: the same text, also where the program is gone", async () => {
  const help = await helpTexts();
  assert.equal(Object.keys(help).toSorted(), Object.keys(readManifest(root).bin).toSorted());
  const apart = join(folder, "apart");
  mkdirSync(apart);
  for (const name of readdirSync(programs)) {
    if (statSync(join(programs, name)).size < 500_000) copyFileSync(join(programs, name), join(apart, name));
  }
  const cases = [["hypha-gateway", ""], ["hypha-scheduler", "submit"], ["hypha-ca", "token"], [
    "hypha-certutil",
    "sign",
  ]];
  for (const [program = "", command = ""] of cases) {
    const text = help[program]?.[command] ?? "";
    assert.match(text, `${program}${command === "" ? "" : " "}${command} `);
    const file = join(apart, `${program.replace("-", "_")}.js`);
    const [runtime, ...flags] = scriptCommand("Deno" in globalThis ? "deno" : "node");
    const args = [...flags, file, ...command.split(" ").filter((word) => word !== ""), "-h"];
    const options = { cwd: folder, timeoutMs: 30_000 };
    assert.is((await runCommand(runtime, args, options)).stdout, stripVTControlCharacters(text));
    const coloured = { ...options, env: { NO_COLOR: "", FORCE_COLOR: "1", TERM: "xterm" } };
    assert.is((await runCommand(runtime, args, coloured)).stdout, text);
  }
  const { stdout } = await runProgramOnce("worker", ["run", "--help"]);
  assert.is(stdout, stripVTControlCharacters(help["hypha-worker"]?.["run"] ?? ""), "as the program itself prints it");
  const unknown = await run("hypha_gateway", ["no-such-command", "--help"]);
  assert.match(unknown.stdout, "SUBCOMMANDS", "what has no text is left to the program");
});

test("bug: Deno read all of a package's programs, 5 MB, before it printed one's help", async () => {
  const deno = findRuntime("deno");
  assert.ok(deno, "Deno is a development dependency");
  const info = await runCommand(deno, ["info", "--json", join(programs, "hypha_gateway.js")], { timeoutMs: 60_000 });
  const { modules } = JSON.parse(info.stdout) as { readonly modules: readonly { readonly size?: number }[] };
  const bytes = modules.reduce((sum, { size = 0 }) => sum + size, 0);
  assert.ok(bytes > 0 && bytes < 20_000, `${bytes} bytes in ${modules.length} modules are read before the start`);
});

test("the thread that reads large revocation lists starts from the bundle", async () => {
  const files = join(folder, "files");
  const pki = await makeTestPki();
  await pki.write(files, await pki.node("prober"));
  const thread = join(programs, "crl_worker.js");
  const original = readFileSync(thread, "utf8");
  const mark = join(folder, "started");
  writeFileSync(
    thread,
    `import { writeFileSync } from "node:fs";\nwriteFileSync(${JSON.stringify(mark)}, "");\n${original}`,
  );
  try {
    const comment = `${"#".repeat(63)}\n`;
    writeFileSync(join(files, "crls.pem"), (await pki.crls()).padEnd(apartBytesMin + 1, comment));
    writeFileSync(join(files, "config.toml"), configText(files));
    const { stderr } = await run("hypha_gateway", ["probe", "-c", "files/config.toml", "/ip4/127.0.0.1/tcp/1"]);
    assert.ok(existsSync(mark), `the thread did not start: ${stderr}`);
  } finally {
    writeFileSync(thread, original);
  }
});

test("each export has a file, and together they import each package of dependencies and no other", async () => {
  const manifest = readManifest(root);
  const { outputs } = await bundleLibrary({ root, outdir: join(folder, "library") });
  const files = readdirSync(join(folder, "library"));
  const names = Object.keys(librarySources(manifest));
  assert.is(names.length, Object.keys(manifest.exports).filter((path) => path !== "./package.json").length);
  assert.equal(names.filter((name) => !files.includes(`${name}.js`)), []);
  const external = Object.values(outputs).flatMap(({ imports }) => imports.filter((each) => each.external === true));
  const packages = new Set(external.map(({ path }) => packageOf(path)).filter((name) => !isBuiltin(name)));
  assert.equal([...packages].sort(), Object.keys(manifest.dependencies).sort());
});

if (!("Deno" in globalThis)) {
  test("bug: the package that npm test tries was built in the clone, over the dist/ of others", async () => {
    const out = join(folder, "out");
    const before = existsSync("dist") ? statSync("dist").ino : 0;
    const [command, ...flags] = scriptCommand("node");
    const build = [...flags, "scripts/build.ts", "--out", out];
    const { code, stderr } = await runCommand(command, build, { timeoutMs: 180_000 });
    assert.is(code, 0, stderr);
    assert.equal(readdirSync(out).toSorted(), ["LICENSES.txt", "library", "man", "programs", "types"]);
    const again = await runCommand(command, build, { timeoutMs: 60_000 });
    assert.is(again.code, 2, "nothing that is there is removed");
    assert.is(existsSync("dist") ? statSync("dist").ino : 0, before);
  });
}

test.run();
