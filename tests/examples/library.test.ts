/**
 * The examples of `docs/library.md`, and the README's: type-checked, and run in folders with real certificates. That of
 * `docs/executors.md` is type-checked here.
 *
 * Method: a block is checked as it stands, with the pinned TypeScript. To run, it is written to a folder that holds a node's files,
 * its imports lead into this tree, and the folder is the current one.
 */
import { execFile } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import process from "node:process";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import type { Connection, Libp2p } from "@libp2p/interface";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { MtlsSecurity, TrustWatch } from "../../mod.ts";
import { makeTestPki } from "../support/pki.ts";
import { until } from "../support/transports.ts";

const test = suite("docs/library.md");
const root = resolve(".");
const folder = await mkdtemp(join(tmpdir(), "hypha-library-"));
const pki = await makeTestPki();

/** The TypeScript blocks of a page, each with the name that its first line gives it. */
function blocksOf(page: string): { readonly name: string; readonly text: string }[] {
  const text = readFileSync(join(root, page), "utf8");
  return [...text.matchAll(/^```ts\n(?:\/\/ (\S+\.ts)\n)?([\s\S]*?)^```$/gm)]
    .map(([, name, block], index) => ({ name: name ?? `${page.replace(/\W/g, "_")}_${index}.ts`, text: block! }));
}

const library = blocksOf("docs/library.md");
const blockOf = (name: string) => library.find((block) => block.name === name)?.text ?? "";
const { exports } = JSON.parse(readFileSync("deno.json", "utf8")) as { readonly exports: Record<string, string> };

/** The source that an import of this package means. */
const sourceOf = (specifier: string) => join(root, exports[specifier.replace("hypha-runtime", ".")] ?? "");

/** Writes a block with imports that lead into this tree, whatever the runtime, and loads it in the folder. */
async function run<T = unknown>(text: string, home: string, exported: readonly string[] = []): Promise<T> {
  const led = text.replace(/(\bfrom )"([^"]+)"/g, (whole, from: string, specifier: string) => {
    if (specifier.startsWith("node:")) return whole;
    const target = specifier.startsWith("hypha-runtime")
      ? pathToFileURL(sourceOf(specifier)).href
      : import.meta.resolve(specifier);
    return `${from}"${target}"`;
  });
  const file = join(home, "program.mts");
  await writeFile(file, exported.length === 0 ? led : `${led}\nexport { ${exported.join(", ")} };\n`);
  process.chdir(home);
  try {
    return await import(pathToFileURL(file).href) as T;
  } finally {
    process.chdir(root);
  }
}

let homes = 0;
/** A folder with a node's files, under the names of the page. */
async function home(name: string): Promise<{ readonly path: string; readonly serial: string }> {
  const path = join(folder, String(homes++));
  await mkdir(path);
  const node = await pki.node(name);
  await writeFile(join(path, "node.pem"), node.chainPem);
  await writeFile(join(path, "node.key"), node.keyPem, { mode: 0o600 });
  await writeFile(join(path, "trust.pem"), pki.trustPem);
  await writeFile(join(path, "crls.pem"), await pki.crls());
  return { path, serial: node.serial };
}

test.after(() => rm(folder, { recursive: true, force: true }));

test("every block type-checks", async () => {
  const project = join(folder, "types");
  await mkdir(project);
  await symlink(join(root, "node_modules"), join(project, "node_modules"));
  const blocks = [...library, ...blocksOf("README.md"), ...blocksOf("docs/executors.md")];
  assert.ok(library.length >= 6, "the page's blocks were found");
  for (const { name, text } of blocks) await writeFile(join(project, name.replace(/ts$/, "mts")), text);
  const paths = Object.keys(exports).map((path) => path.replace(".", "hypha-runtime"));
  await writeFile(
    join(project, "tsconfig.json"),
    JSON.stringify({
      extends: join(root, "tsconfig.json"),
      compilerOptions: { paths: Object.fromEntries(paths.map((path) => [path, [sourceOf(path)]])) },
      include: ["*.mts"],
    }),
  );
  const compiler = join(root, "node_modules/typescript/bin/tsc");
  const node = join(root, "node_modules/.bin/node");
  const command = existsSync(node) ? node : process.execPath;
  const { stdout } = await promisify(execFile)(command, [compiler, "-p", project]).catch((error) => error);
  assert.is(stdout, "");
});

/** What the first example makes. */
interface Application {
  readonly node: Libp2p;
  readonly security: MtlsSecurity;
  readonly trust: TrustWatch;
}

const applications: [page: string, text: string][] = [
  ["docs/library.md", blockOf("application.ts")],
  ...blocksOf("README.md").filter(({ text }) => text.includes("makeMtlsSecurity(")).map((
    { text },
  ): [string, string] => [
    "README.md",
    text,
  ]),
];
for (const [page, text] of applications) {
  test(`two applications of ${page} connect, and are parted by a list that is renamed into place`, async () => {
    const [first, second] = [await home("a.example"), await home("b.example")];
    const made = ["node", "security", "trust"];
    const a = await run<Application>(text, first.path, made);
    const b = await run<Application>(text, second.path, made);
    await b.node.handle("/echo/1", async (stream) => {
      for await (const piece of stream) stream.send(piece);
      await stream.close();
    });
    const connection: Connection = await a.node.dial(b.node.getMultiaddrs());
    assert.is(connection.encryption, "/tls/1.0.0");
    const stream = await connection.newStream("/echo/1");
    let back = "";
    stream.addEventListener("message", ({ data }) => back += new TextDecoder().decode(data.subarray()));
    stream.send(new TextEncoder().encode("hello"));
    await until("the echo", () => back === "hello");
    const crls = join(second.path, "crls.pem");
    await writeFile(`${crls}.new`, await pki.crls({ revoked: [first.serial], number: 2n }));
    await rename(`${crls}.new`, crls);
    await until("the close", () => connection.status !== "open", 5_000);
    assert.is(b.trust.snapshot().generation, 2);
    const again = await a.node.dial(b.node.getMultiaddrs()).then(() => "connected", () => "refused");
    assert.is(again, "refused");
    await Promise.all([a.node.stop(), b.node.stop()]);
    await Promise.all([a.trust.close(), b.trust.close()]);
  });
}

for (const { name, text } of library.filter(({ name }) => name !== "application.ts")) {
  test(`${name} runs, and what it asserts holds`, async () => {
    await run(text, (await home("c.example")).path);
  });
}

test.run();
