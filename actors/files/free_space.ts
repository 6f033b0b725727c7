/**
 * Whether a file system has room for what is going to be written.
 *
 * @module
 */
import { statfs } from "node:fs/promises";
import { Context, Data, Effect } from "effect";

/** A file system has less room than is needed. */
export class NotEnoughDisk extends Data.TaggedError("NotEnoughDisk")<{
  readonly folder: string;
  readonly neededBytes: number;
  readonly freeBytes: number;
}> {
  override get message(): string {
    const [needed, free] = [amountOf(this.neededBytes, Math.ceil), amountOf(this.freeBytes, Math.floor)];
    return `not enough disk: need ${needed}, have ${free} at ${this.folder}`;
  }
}

/** How many bytes a process of this user may still write below a folder. Infinite where the file system does not say. */
export type FreeSpaceOf = (folder: string) => Effect.Effect<number>;

/** Asks the operating system. A simulation answers by itself. */
export const FreeSpace: Context.Reference<FreeSpaceOf> = Context.Reference("hypha/FreeSpace", {
  defaultValue: (): FreeSpaceOf => (folder) =>
    Effect.promise(() => statfs(folder).then(({ bavail, bsize }) => bavail * bsize, () => Number.POSITIVE_INFINITY)),
});

/** Checks that a folder's file system has room for so many bytes. It may be taken by others afterwards. */
export function checkRoom(folder: string, neededBytes: number): Effect.Effect<void, NotEnoughDisk> {
  return Effect.gen(function* () {
    const freeBytes = yield* (yield* FreeSpace)(folder);
    if (freeBytes < neededBytes) yield* Effect.fail(new NotEnoughDisk({ folder, neededBytes, freeBytes }));
  });
}

const units: readonly (readonly [name: string, bytes: number])[] = [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], [
  "kB",
  1e3,
]];

/** An amount in hundredths of its unit. */
export function amountOf(bytes: number, rounded: (value: number) => number): string {
  const [name, unit] = units.find(([, unit]) => bytes >= unit) ?? ["bytes", 1];
  return `${rounded((bytes * 100) / unit) / 100} ${name}`;
}
