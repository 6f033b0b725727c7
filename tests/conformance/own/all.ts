/** Every case of ours. */
import type { OwnCase } from "../../support/limbo_world.ts";
import { listCases } from "./lists.ts";
import { nameCases } from "./names.ts";
import { pathCases } from "./paths.ts";

export const ownCases: readonly OwnCase[] = [...listCases, ...nameCases, ...pathCases];
