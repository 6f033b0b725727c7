/**
 * The error for something of libp2p that this transport uses beyond its published types and that is not there.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The versions that the transport was written for, which package.json names exactly: a test compares the two. */
export const writtenFor = {
  "libp2p": "3.3.11",
  "@libp2p/circuit-relay-v2": "4.2.13",
  "@libp2p/gossipsub": "17.1.1",
  "@libp2p/identify": "4.1.14",
  "@libp2p/kad-dht": "16.4.5",
  "@libp2p/tcp": "11.0.28",
  "@libp2p/utils": "7.4.1",
  "@libp2p/yamux": "8.0.3",
} as const;

/** A package whose internals are used. */
export type InternalPackage = keyof typeof writtenFor;

/** A package of another version than the one this transport was written for lacks something that it needs. */
export class MovedInternal extends Error {
  override readonly name = "MovedInternal";
  /** The package at fault. */
  readonly package: InternalPackage;
  /** What it lacks. */
  readonly missing: string;
  /** The version that is installed; `unknown` where that cannot be read. */
  readonly found: string;

  constructor(name: InternalPackage, missing: string) {
    const expected = writtenFor[name];
    const found = installedVersion(name);
    super(
      `Cannot use ${name} ${found}: it has no ${missing}, which ${expected} has. Run: npm install ${name}@${expected}`,
    );
    this.package = name;
    this.missing = missing;
    this.found = found;
  }
}

/** Gives a value back, or refuses with the name of what is missing. */
export function need<T>(value: T | undefined | null, name: InternalPackage, missing: string): T {
  if (value === undefined || value === null) throw new MovedInternal(name, missing);
  return value;
}

/** As {@linkcode need}, of an object's methods. */
export function needMethods(object: unknown, name: InternalPackage, holder: string, methods: readonly string[]): void {
  const held = object as Partial<Record<string, unknown>>;
  for (const method of methods) {
    if (typeof held[method] !== "function") throw new MovedInternal(name, `${holder}.${method}()`);
  }
}

/** The version of an installed package, read only where an error wants it. */
function installedVersion(name: InternalPackage): string {
  try {
    let folder = dirname(fileURLToPath(import.meta.resolve(name)));
    for (;;) {
      const version = versionIn(folder, name);
      if (version !== undefined) return version;
      const above = dirname(folder);
      if (above === folder) return "unknown";
      folder = above;
    }
  } catch {
    return "unknown";
  }
}

function versionIn(folder: string, name: string): string | undefined {
  try {
    const manifest = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    return manifest.name === name && typeof manifest.version === "string" ? manifest.version : undefined;
  } catch {
    return undefined;
  }
}
