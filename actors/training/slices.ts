/**
 * The order of slices: every slice once an epoch, then again from the first.
 *
 * @module
 */

/** Position in the order of slices. */
export interface SliceCursor {
  readonly count: number;
  readonly next: number;
  /** Completed passes over the data set. */
  readonly epoch: number;
}

/** A cursor before the first of `count` slices; `count` is at least 1. */
export function firstSlice(count: number): SliceCursor {
  return { count, next: 0, epoch: 0 };
}

/** The next slice, and the cursor after it. */
export function takeSlice(cursor: SliceCursor): { readonly index: number; readonly cursor: SliceCursor } {
  const index = cursor.next;
  const last = index + 1 >= cursor.count;
  return {
    index,
    cursor: { count: cursor.count, next: last ? 0 : index + 1, epoch: last ? cursor.epoch + 1 : cursor.epoch },
  };
}
