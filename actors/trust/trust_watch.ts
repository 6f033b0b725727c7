/**
 * The parent of a trust store in an application without a node: keeps the newest snapshot and emits each new one.
 *
 * ```
 * loading ─▶ watching ── trust.changed ─▶ watching (emits it)
 *    │          │
 *    ▼          ▼
 *   failed   failed (the trust store stopped with an error)
 * ```
 *
 * @module
 */
import { assign, emit, sendTo, setup } from "xstate";
import type { TrustSnapshot } from "../../pki/trust.ts";
import { type TrustEvent, type TrustStoreInput, trustStoreMachine } from "./trust_store.ts";

interface WatchContext {
  readonly store: TrustStoreInput;
  readonly snapshot: TrustSnapshot | undefined;
  readonly error: unknown;
}

type WatchEvent = TrustEvent | { readonly type: "trust.reload" };
type WatchEmitted = Extract<TrustEvent, { readonly type: "trust.changed" }>;

const watch = setup({
  types: {
    input: {} as TrustStoreInput,
    context: {} as WatchContext,
    events: {} as WatchEvent,
    emitted: {} as WatchEmitted,
  },
  actors: { trustStore: trustStoreMachine },
  actions: {
    take: assign((_, { snapshot }: { snapshot: TrustSnapshot }) => ({ snapshot })),
    takeError: assign((_, { error }: { error: unknown }) => ({ error })),
    reload: sendTo("trustStore", { type: "trust.reload" }),
    sendChanged: emit((_, { snapshot }: { snapshot: TrustSnapshot }) => ({ type: "trust.changed" as const, snapshot })),
  },
});

/** The watch as a machine. The context of `failed` has the error. */
export const trustWatchMachine = watch.createMachine({
  id: "trustWatch",
  context: ({ input }) => ({ store: input, snapshot: undefined, error: undefined }),
  invoke: {
    id: "trustStore",
    src: "trustStore",
    input: ({ context }) => context.store,
    onError: { target: ".failed", actions: { type: "takeError", params: ({ event }) => ({ error: event.error }) } },
  },
  initial: "loading",
  states: {
    loading: {
      on: {
        "trust.loaded": {
          target: "watching",
          actions: { type: "take", params: ({ event }) => ({ snapshot: event.snapshot }) },
        },
        "trust.failed": {
          target: "failed",
          actions: { type: "takeError", params: ({ event }) => ({ error: event.error }) },
        },
      },
    },
    watching: {
      on: {
        "trust.changed": {
          actions: [
            { type: "take", params: ({ event }) => ({ snapshot: event.snapshot }) },
            { type: "sendChanged", params: ({ event }) => ({ snapshot: event.snapshot }) },
          ],
        },
        "trust.reload": { actions: "reload" },
      },
    },
    failed: {},
  },
});
