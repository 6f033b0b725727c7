/**
 * Rules about the keys of `[cell]` together.
 *
 * @module
 */
import { cellLevels } from "./cell_config.ts";
import type { BrokenRule } from "./rules.ts";
import { tableAt } from "./settings.ts";

/** A worker offers no more GPU memory than its GPUs have, gives each device to one job, and tries at least one level. */
export function checkCell({ cell, resources }: Readonly<Record<string, unknown>>): BrokenRule[] {
  const { gpu: tables, gpu_common: common, level, level_max: most } = tableAt({ cell }, "cell");
  const { gpu: offered } = tableAt({ resources }, "resources");
  return [...checkLevels(level, most), ...(Array.isArray(tables) ? checkGpus(tables, common, offered) : [])];
}

function checkLevels(least: unknown, most: unknown): BrokenRule[] {
  const order: readonly unknown[] = cellLevels;
  if (!order.includes(most) || order.indexOf(least) <= order.indexOf(most)) return [];
  return [{
    path: ["cell", "level_max"],
    wrong: `is weaker than level = ${JSON.stringify(least)}`,
    expected: "level or a stronger one",
    mend: "take one of them out",
  }];
}

function checkGpus(tables: readonly unknown[], common: unknown, offered: unknown): BrokenRule[] {
  const broken: BrokenRule[] = [];
  const memories = tables.map((table: unknown) => tableAt({ table }, "table")["memory"]);
  const sum = memories.reduce((sum: number, memory: unknown) => sum + (typeof memory === "number" ? memory : 0), 0);
  if (typeof offered === "number" && offered > sum) {
    broken.push({
      path: ["resources", "gpu"],
      wrong: `is ${offered}, and the tables [[cell.gpu]] have ${sum} GB`,
      expected: "at most the GPU memory that there is",
      mend: `set gpu = ${sum}, or add the table of the other GPU`,
    });
  }
  const seen = new Set(listAt(tableAt({ common }, "common"), "devices"));
  tables.forEach((table: unknown, index) => {
    for (const device of listAt(tableAt({ table }, "table"), "devices")) {
      if (!seen.has(device)) {
        seen.add(device);
        continue;
      }
      broken.push({
        path: ["cell", "gpu", index, "devices"],
        wrong: `${JSON.stringify(device)} is there already`,
        expected: "each device once",
        mend: "what every job needs belongs to [cell.gpu_common]",
      });
    }
  });
  return broken;
}

function listAt(table: Readonly<Record<string, unknown>>, key: string): readonly unknown[] {
  const list = table[key];
  return Array.isArray(list) ? list : [];
}
