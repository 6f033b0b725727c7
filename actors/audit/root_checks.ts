/**
 * Compares the roots of checkpoints with a tree that grows.
 *
 * @module
 */
import { sameBytes } from "../../pki/bytes.ts";
import { AuditFinding } from "./finding.ts";
import type { TreeEdge } from "./merkle_tree.ts";
import type { FoundCheckpoint } from "./read_checkpoints.ts";

/** Checkpoints by size, each compared when the tree has its size. */
export class RootChecks {
  readonly #checkpoints: readonly FoundCheckpoint[];
  #index = 0;

  constructor(checkpoints: readonly FoundCheckpoint[]) {
    this.#checkpoints = checkpoints.toSorted((left, right) => left.size - right.size);
  }

  /** The smallest that was not compared. */
  get next(): FoundCheckpoint | undefined {
    return this.#checkpoints[this.#index];
  }

  /** Compares those of the tree's present size. */
  at(edge: TreeEdge): AuditFinding | undefined {
    for (let next = this.next; next !== undefined && next.size <= edge.size; next = this.next) {
      this.#index += 1;
      if (sameBytes(next.root, edge.root())) continue;
      const range = `records ${this.#before(next)?.size ?? 0} to ${next.size - 1}`;
      const detail = `its root is not that of the first ${next.size} records: one of ${range} was changed`;
      return new AuditFinding({ code: "checkpoint-root", file: next.file, line: next.line, detail });
    }
    return undefined;
  }

  /** The one before in the same file: a log that was rewritten with its key has checkpoints that a witness's do not follow from. */
  #before({ file, size }: FoundCheckpoint): FoundCheckpoint | undefined {
    return this.#checkpoints.findLast((other) => other.file === file && other.size < size);
  }

  /** Where the log ends with this many records: none may cover more. */
  atEnd(records: number): AuditFinding | undefined {
    const beyond = this.next;
    if (beyond === undefined) return undefined;
    const detail = `it covers ${beyond.size} records, and the log has ${records}: records were cut off at the end`;
    return new AuditFinding({ code: "truncated", file: beyond.file, line: beyond.line, detail });
  }
}
