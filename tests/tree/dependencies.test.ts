/** What package.json declares and the lock file holds; `scripts/tidy/packages.ts` checks what the source imports. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const test = suite("dependencies");

interface Manifest {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}
const manifest = JSON.parse(readFileSync("package.json", "utf8")) as Manifest;

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
