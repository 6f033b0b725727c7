/**
 * A scheduler's actions around the data set's provider: when it goes away, or a data node appears that may be the same under
 * another key, the record is looked up again, and whoever publishes it now serves the slices from here on.
 *
 * @module
 */
import { Result } from "effect";
import type { RecordAnswer } from "../../transport/port.ts";
import { answerAs } from "../runtime/role.ts";
import { readDatasetRecord } from "../data/dataset_record.ts";
import { findTimeoutMs, type SchedulerEvent, schedulerSetup, seekAgainMs, seeksAtData } from "./scheduler_setup.ts";

/** Asks for the data set's record. */
export const find = schedulerSetup.enqueueActions(({ context, self, enqueue }) => {
  const lookup = context.lookups + 1;
  enqueue.assign({ lookups: lookup });
  enqueue.sendTo(context.transport, {
    type: "record.get",
    id: `dataset/${lookup}`,
    key: context.config.job.dataset,
    timeoutMs: findTimeoutMs,
    replyTo: answerAs(
      self,
      (answer: RecordAnswer): SchedulerEvent => ({ type: "dataset.answered", lookup, answer }),
    ),
  });
});

const seekSoon = { id: "dataset.seek" } as const;

/** The provider's last connection closed: until it is back, or another publishes the data set, the record is looked up. */
export const noteProviderGone = schedulerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "peer.closed" || event.peer !== context.dataset?.provider) return;
  enqueue.assign({ seeks: Number.POSITIVE_INFINITY });
  enqueue.cancel(seekSoon.id);
  enqueue.raise({ type: "dataset.seek" });
});

/** The provider is back, or a data node came that may be it under another key. */
export const noteProvider = schedulerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "peer.established" || context.dataset === undefined) return;
  if (event.peer === context.dataset.provider) {
    enqueue.assign({ seeks: 0 });
    enqueue.cancel(seekSoon.id);
  } else if (event.identity.role === "data") {
    enqueue.assign({ seeks: Math.max(context.seeks, seeksAtData) });
    enqueue.cancel(seekSoon.id);
    enqueue.raise({ type: "dataset.seek" });
  }
});

/** Looks the record up once more, and again after a while, as often as there is reason to. */
export const seek = schedulerSetup.enqueueActions(({ context, enqueue }) => {
  if (context.seeks <= 0) return;
  enqueue.assign({ seeks: context.seeks - 1 });
  enqueue(find);
  enqueue.raise({ type: "dataset.seek" }, { ...seekSoon, delay: seekAgainMs });
});

/** Somebody else publishes the data set now. One of another size is another data set: its slices would not fit. */
export const takeProvider = schedulerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "dataset.answered" || event.lookup !== context.lookups || context.dataset === undefined) return;
  const found = readDatasetRecord(event.answer);
  if (Result.isFailure(found) || found.success.provider === context.dataset.provider) return;
  const { provider, slices } = found.success;
  if (slices !== context.dataset.slices) return;
  enqueue.assign({ dataset: found.success, seeks: 0 });
  enqueue.cancel(seekSoon.id);
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: "dataset.moved",
      message: `Data set ${context.config.job.dataset} is served by ${provider} now`,
      fields: { dataset: context.config.job.dataset, slices, peer: provider, formerPeer: context.dataset?.provider },
    })
  );
});
