// What a job gets: what was leased, unless the worker's configuration says otherwise.
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { cellDefault, type CellSettings } from "../../../actors/config/cell_config.ts";
import { jobCell } from "../../../actors/job/cell/bounds.ts";

const test = suite("jobCell()");

const gib = 1024 ** 3;
const cases: [
  what: string,
  settings: Partial<CellSettings>,
  leased: [memory: number, storage: number],
  bounds: [memoryBytes: number, diskBytes: number, disk: "memory" | "directory"],
][] = [
  ["bug: 16 GB and 100 GB were 4 GiB and 2 GiB", {}, [16, 100], [16e9, 100e9, "directory"]],
  ["a small directory is in memory", {}, [1, 1], [1e9, 1e9, "memory"]],
  ["one of 1 GiB is the largest in memory", { diskBytes: gib }, [1, 50], [1e9, gib, "memory"]],
  ["a larger one is not", { diskBytes: gib + 1 }, [1, 1], [1e9, gib + 1, "directory"]],
  ["the operator may say so all the same", { disk: "memory" }, [8, 20], [8e9, 20e9, "memory"]],
  ["or the opposite", { disk: "directory" }, [1, 1], [1e9, 1e9, "directory"]],
  ["what is configured holds for every lease", { memoryBytes: 2 * gib, diskBytes: gib }, [16, 100], [
    2 * gib,
    gib,
    "memory",
  ]],
  ["a lease of nothing suffices to start a program", {}, [0, 0], [512 * 1024 ** 2, 64 * 1024 ** 2, "memory"]],
  ["fractions of GB are whole bytes", {}, [0.7, 0.123456789], [7e8, 123_456_789, "memory"]],
];
for (const [what, settings, [memory, storage], bounds] of cases) {
  test(what, () => {
    const { memoryBytes, diskBytes, disk, pidsMax } = jobCell({ ...cellDefault, ...settings }, { memory, storage });
    assert.equal([memoryBytes, diskBytes, disk], bounds);
    assert.is(pidsMax, cellDefault.pidsMax);
  });
}

test.run();
