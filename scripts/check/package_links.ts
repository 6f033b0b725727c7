/**
 * Links of the pages in a folder: a packed package must contain every target of its pages.
 *
 * @module
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";

/** Every `*.md` below `folder`, dependencies left out. */
function pagesOf(folder: string, at = ""): readonly string[] {
  return readdirSync(join(folder, at), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(at, entry.name);
    if (entry.isDirectory()) return entry.name === "node_modules" ? [] : pagesOf(folder, path);
    return entry.name.endsWith(".md") ? [path] : [];
  });
}

/** Returns the targets of a page's links and pictures. Code contains no links. */
function targetsOf(text: string): readonly string[] {
  const prose = text.replaceAll(/^```[\s\S]*?^```$/gm, "").replaceAll(/`[^`\n]*`/g, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target ?? "");
}

/**
 * Relative links that lead nowhere inside the folder, one line each: `page: target`.
 *
 * @returns Also one line where there is no page at all.
 */
export function linksOutside(folder: string): readonly string[] {
  const pages = pagesOf(folder);
  if (pages.length === 0) return [`${folder} holds no page`];
  return pages.flatMap((page) => {
    const targets = targetsOf(readFileSync(join(folder, page), "utf8")).filter((target) =>
      !/^([a-z]+:|#)/.test(target)
    );
    return targets.filter((target) => {
      const path = posix.join(posix.dirname(page), target.split("#")[0] ?? "");
      return path.startsWith("..") || !existsSync(join(folder, path));
    }).map((target) => `${page}: ${target}`);
  });
}
