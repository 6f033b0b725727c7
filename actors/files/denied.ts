/**
 * What Deno's permissions kept a program from, in words that name the flag.
 *
 * @module
 */

/** Causes that are looked through: errors of libraries wrap each other. */
const causesMax = 8;

/** Whose flag takes a value: `--allow-read=PATH`. */
const kinds: ReadonlySet<string> = new Set(["read", "write", "net", "env", "run", "sys", "ffi", "import"]);

/**
 * Finds the missing permission that an error, or one of its causes, names.
 *
 * @returns Such as `Deno allows no net access to "127.0.0.1:4001": add --allow-net=127.0.0.1:4001`; undefined where no
 * permission is what was missing, and on every other runtime.
 */
export function deniedByDeno(error: unknown): string | undefined {
  let cause = error;
  for (let depth = 0; depth < causesMax && cause instanceof Error; depth++) {
    if (cause.name === "NotCapable") return sentenceOf(cause.message);
    const { cause: deeper, reason } = cause as {
      readonly cause?: unknown;
      readonly reason?: { readonly cause?: unknown };
    };
    cause = deeper ?? reason?.cause;
  }
  return undefined;
}

/** Deno's own words are `Requires net access to "127.0.0.1:4001", run again with the --allow-net flag`. */
function sentenceOf(message: string): string {
  const [, kind = "", what = ""] = /^Requires (\w+) access(?: to (.+?))?(?:, run again with .*)?$/s.exec(message) ?? [];
  if (!kinds.has(kind)) return `Deno's permissions do not allow it: ${message.slice(0, 200)}`;
  const place = /^"(.*)"$/s.exec(what)?.[1];
  return `Deno allows no ${kind} access${what === "" ? "" : ` to ${what}`}: add --allow-${kind}${
    place === undefined ? "" : `=${/^[\w./:@[\]-]+$/.test(place) ? place : JSON.stringify(place)}`
  }`;
}
