/**
 * The help of each command of each program, with a terminal's colours. Empty here: the build writes it (`scripts/build/help.ts`), so that a
 * packaged program prints it before anything else is loaded.
 *
 * @module
 */

/** By program, then by command (`""` is the program itself). */
export type HelpTexts = Readonly<Record<string, Readonly<Record<string, string>>>>;

export const helpTexts: HelpTexts = {};
