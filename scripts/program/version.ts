/** The version of this package: the same as in package.json (tested). */
export const version = "0.1.0";
