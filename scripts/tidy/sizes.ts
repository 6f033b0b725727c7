/**
 * Sizes as a ratchet: files of 400 lines and functions of 70 at most, but for a list of exceptions that may only shrink.
 *
 * @module
 */
import ts from "@typescript/typescript6";
import type { SourceFile } from "../tidy.ts";

export const fileLinesMax = 400;
export const functionLinesMax = 70;

/** The lines of each file or function over its limit, by `path` or `path#function`. */
export type Sizes = Readonly<Record<string, number>>;

type Named = ts.FunctionLikeDeclaration & { readonly body?: ts.Node };

/** Everything larger than allowed in these files. */
export function largeOnes(files: readonly SourceFile[]): Sizes {
  const found: Record<string, number> = {};
  for (const { path, text } of files) {
    const lines = text.split("\n").length - 1;
    if (lines > fileLinesMax) found[path] = lines;
    if (lines <= functionLinesMax) continue;
    const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
    const visit = (node: ts.Node): void => {
      if (ts.isFunctionLike(node) && "body" in node && (node as Named).body !== undefined) {
        const count = linesOf(source, node);
        const key = `${path}#${nameOf(node)}`;
        if (count > functionLinesMax) found[key] = Math.max(count, found[key] ?? 0);
      }
      ts.forEachChild(node, visit);
    };
    visit(source);
  }
  return found;
}

function linesOf(source: ts.SourceFile, node: ts.Node): number {
  const at = (position: number) => source.getLineAndCharacterOfPosition(position).line;
  return at(node.end) - at(node.getStart(source)) + 1;
}

/** The name of the function, or of the variable that it is assigned to; for a callback, that of the enclosing function. */
function nameOf(node: ts.Node): string {
  for (let at: ts.Node | undefined = node; at !== undefined; at = at.parent) {
    const { name } = at as { readonly name?: ts.Node };
    const named = name !== undefined && (ts.isIdentifier(name) || ts.isPrivateIdentifier(name)) ? name.text : "";
    if (named !== "") return named;
  }
  return "callback";
}

/**
 * Compares the sizes over the limits with the exceptions.
 *
 * @param allowed The exceptions of `scripts/tidy/sizes.json`.
 */
export function sizeFindings(found: Sizes, allowed: Sizes): string[] {
  const grown = Object.entries(found).flatMap(([key, lines]) => {
    const [path = "", name] = key.split("#");
    const max = allowed[key];
    const limit = name === undefined ? fileLinesMax : functionLinesMax;
    const what = name === undefined ? "this file" : name;
    if (max === undefined) return [`${path}:1: ${what} has ${lines} lines, more than ${limit}: split it`];
    return lines > max ? [`${path}:1: ${what} has grown from ${max} to ${lines} lines, split it`] : [];
  });
  const shrunk = Object.entries(allowed).flatMap(([key, max]) => {
    const lines = found[key];
    if (lines === max || (lines !== undefined && lines > max)) return [];
    const now = lines === undefined ? "is not too large any more, take it out" : `has ${lines} lines, lower its ${max}`;
    return [`scripts/tidy/sizes.json:1: ${key} ${now}`];
  });
  return [...grown, ...shrunk];
}
