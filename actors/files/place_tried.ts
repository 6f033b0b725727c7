/**
 * Where a path leads that turned out to lead nowhere, for messages.
 *
 * @module
 */
import { isAbsolute, resolve } from "node:path";

/**
 * What to add to "there is no such file": of a relative path the absolute one that was tried, and that `~` means nothing
 * outside a shell. Empty for absolute paths, and where the working directory is not known (Deno without the right to
 * read it).
 */
export function placeTried(path: string): string {
  if (isAbsolute(path)) return "";
  const note = path.startsWith("~") ? "; ~ is not expanded here, write the whole path" : "";
  try {
    return ` (tried ${resolve(path)}${note})`;
  } catch {
    return note === "" ? "" : ` (${note.slice(2)})`;
  }
}
