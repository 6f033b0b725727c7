/**
 * The files of the console's page. In the source tree they are made when they are asked for (`scripts/build/console_page.ts`); the build
 * puts them into this module, so that a packaged program has them at once.
 *
 * @module
 */
import type { PageFiles } from "../../actors/console/serve_console.ts";

/** Reads them. */
export async function consolePage(): Promise<PageFiles> {
  const { buildConsolePage } = await import("../build/console_page.ts");
  return (await buildConsolePage()).files;
}
