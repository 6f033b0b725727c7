/** What the source imports is what package.json declares, at the versions whose internals are used. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const test = suite("dependencies");

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}
const manifest = JSON.parse(readFileSync("package.json", "utf8")) as Manifest;

/** An import, with the name in it; not one in a comment's example. */
const imported = /^(?! \*)(?:import|export|\}|.*\bimport\()(?:.*\bfrom)?\s*"([@\w][\w./@-]*)"/gm;

/** The packages that the files below a folder, or one file, import by their bare names. */
function packagesOf(path: string): string[] {
  const files = path.endsWith(".ts")
    ? [path]
    : readdirSync(path, { recursive: true, encoding: "utf8" }).map((file) => join(path, file));
  const specifiers = files.filter((file) => file.endsWith(".ts"))
    .flatMap((file) => [...readFileSync(file, "utf8").matchAll(imported)].map(([, specifier]) => specifier!));
  const bare = specifiers.filter((specifier) => !specifier.startsWith("hypha-runtime"));
  return [...new Set(bare.map((name) => name.split("/").slice(0, name.startsWith("@") ? 2 : 1).join("/")))];
}

const shipped = ["mod.ts", "pki", "transport", "actors", "scripts/program", "scripts/certutil", "scripts/executors"];

test("every package that the shipped files import is a dependency (uint8arrays was not)", () => {
  const used = shipped.flatMap(packagesOf);
  assert.ok(used.includes("effect") && used.includes("@libp2p/tcp"), "the files were read");
  assert.equal(used.filter((name) => manifest.dependencies[name] === undefined), []);
});

test("tools and tests import what is declared, if only for development", () => {
  const declared = { ...manifest.dependencies, ...manifest.devDependencies };
  assert.equal(["scripts", "tests"].flatMap(packagesOf).filter((name) => declared[name] === undefined), []);
});

test("packages whose internals are used stand at one exact version", () => {
  const all = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
  const internals = all.filter(([name]) => /^(libp2p$|@libp2p\/|@chainsafe\/)/.test(name));
  assert.ok(internals.length > 10);
  assert.equal(internals.filter(([, version]) => !/^\d+\.\d+\.\d+$/.test(version)), []);
});

test("the lock file names no registry, and each package by its hash", () => {
  interface Locked {
    readonly resolved?: string;
    readonly integrity?: string;
    readonly link?: boolean;
  }
  const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8")) as { packages: Record<string, Locked> };
  const locked = Object.entries(packages).filter(([path]) => path !== "");
  assert.equal(locked.filter(([, { resolved }]) => resolved !== undefined).map(([path]) => path), []);
  assert.equal(locked.filter(([, { integrity }]) => integrity === undefined).map(([path]) => path), []);
});

test("an installation has no Redis client (it came as a peer of @effect/platform-node, with 18 MB)", () => {
  const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8")) as { packages: Record<string, unknown> };
  assert.equal(Object.keys(packages).filter((path) => /\/(@redis\/.*|redis|undici)$/.test(path)), []);
});

test.run();
