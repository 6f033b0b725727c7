/**
 * Paths in commands that are printed to be copied.
 *
 * @module
 */

/** A text as one word of a POSIX shell: as it stands where that is one, quoted otherwise. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./][\w@%+=:,./~-]*$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
