/**
 * A scheduler's trainings: one after the other in a table, and one of them in full.
 *
 * @module
 */
import { useEffect, useMemo, useState } from "preact/hooks";
import type { ShownMember, ShownStatus, ShownTraining } from "../../scheduler/status.ts";
import { Act } from "./act.tsx";
import { Chart } from "./chart.tsx";
import { ask } from "./connection.ts";
import { away, clock, few } from "./format.ts";
import { useNow, useShown } from "./store.ts";
import { Table } from "./table.tsx";

const lookMs = 2_000;

/** The view. */
export function Trainings() {
  const { parts: { trainings, role } } = useShown();
  const [chosen, choose] = useState<string | undefined>();
  const now = useNow();
  if (role !== "scheduler") {
    return (
      <>
        <h1>Trainings</h1>
        <p class="hint">Trainings are the scheduler's. Open the console of a scheduler.</p>
      </>
    );
  }
  const id = chosen ?? trainings?.at(-1)?.id;
  return (
    <>
      <h1>Trainings</h1>
      <Table
        caption="All trainings"
        rows={trainings ?? []}
        keyOf={({ id }) => id}
        textOf={({ id, name, state }) => `${id} ${name} ${state}`}
        columns={[
          {
            head: "Training",
            cell: (training) => (
              <button
                type="button"
                class="link"
                aria-pressed={training.id === id}
                onClick={() => choose(training.id)}
              >
                {training.id}
              </button>
            ),
          },
          { head: "Name", cell: ({ name }) => name },
          { head: "State", cell: ({ state, reason }) => reason === null ? state : `${state}: ${reason}` },
          { head: "Round", cell: ({ round, rounds }) => `${round} of ${rounds}`, isNumber: true },
          { head: "Loss", cell: ({ loss }) => few(loss), isNumber: true },
          { head: "Members", cell: ({ members }) => members, isNumber: true },
          {
            head: "Submitted",
            cell: ({ submitted }) => <time dateTime={submitted} title={clock(submitted)}>{away(submitted, now)}</time>,
          },
          { head: "Act", cell: (training) => <Acts training={training} /> },
        ]}
        empty={trainings === null
          ? "Not known: the scheduler is not ready."
          : "No training was submitted. On the command line: hypha-scheduler submit -c FILE JOB.toml"}
      />
      {id !== undefined && <One key={id} id={id} />}
    </>
  );
}

/** Where a training goes on that is resumed. */
function resumedAt({ round, keepsModel }: { readonly round?: unknown; readonly keepsModel?: unknown }): string {
  return keepsModel === false ? "begins again at round 0" : `goes on after round ${round}`;
}

function Acts({ training }: { readonly training: ShownTraining }) {
  const { id, name, state, round, members, keepsModel } = training;
  if (["queued", "allocating", "running", "waiting", "paused"].includes(state)) {
    return (
      <Act
        path="/trainings/cancel"
        body={{ id }}
        short="Cancel"
        title={`Cancel ${name}`}
        does={[
          `Training ${id} ends after round ${round}. Its ${members} members end their jobs, and their leases.`,
          keepsModel
            ? "The rounds that are finished are kept: the training can be resumed."
            : "Its model is not kept: resumed, it begins again at round 0.",
        ]}
        done={() => "The training was cancelled."}
      />
    );
  }
  return (
    <Act
      path="/trainings/resume"
      body={{ id }}
      short={state === "failed" || state === "cancelled" ? "Resume" : undefined}
      title={`Resume ${name}`}
      does={[`Training ${id} is queued. It ${resumedAt(training)}, with workers that it leases anew.`]}
      done={(answer) => `The training ${resumedAt(answer)}.`}
    />
  );
}

/** An update that was rejected, as the training's log has it. */
interface Rejection {
  readonly time: string;
  readonly name: string;
  readonly round: number;
  readonly code: string;
}

function useTraining(id: string) {
  const [status, setStatus] = useState<ShownStatus | undefined>();
  const [rejected, setRejected] = useState<readonly Rejection[]>([]);
  const rejections = Object.values(status?.rejections ?? {}).reduce((sum, count) => sum + count, 0);
  useEffect(() => {
    const look = async () => {
      const { status, body } = await ask("/trainings/status", { id });
      if (status === 200) setStatus(body as unknown as ShownStatus);
    };
    void look();
    const timer = setInterval(() => void look(), lookMs);
    return () => clearInterval(timer);
  }, [id]);
  useEffect(() => {
    if (rejections === 0) return;
    void ask("/trainings/logs", { id }).then(({ status, body }) => {
      if (status === 200) setRejected(rejectionsIn(body["events"] as readonly Readonly<Record<string, unknown>>[]));
    });
  }, [id, rejections]);
  return { status, rejected };
}

function rejectionsIn(events: readonly Readonly<Record<string, unknown>>[]): readonly Rejection[] {
  return events.filter(({ event }) => event === "update.rejected").map(({ at, name, fields }) => {
    const { round, code } = (fields ?? {}) as Readonly<Record<string, unknown>>;
    return { time: String(at), name: String(name ?? "–"), round: Number(round), code: String(code) };
  }).toReversed();
}

function One({ id }: { readonly id: string }) {
  const { status, rejected } = useTraining(id);
  const losses = status?.losses;
  const { xs, ys } = useMemo(() => ({
    xs: (losses ?? []).map(({ round }) => round),
    ys: (losses ?? []).map(({ loss }) => loss),
  }), [losses?.length, losses?.at(-1)?.round]);
  if (status === undefined) return <p>Reading {id} …</p>;
  return (
    <section aria-label={`Training ${id}`}>
      <h2>
        {status.name} <code>{id}</code>
      </h2>
      <dl class="facts">
        <div>
          <dt>State</dt>
          <dd>{status.state}{status.reason === null ? "" : `: ${status.reason}`}</dd>
        </div>
        <div>
          <dt>Round</dt>
          <dd>{status.round} of {status.rounds}</dd>
        </div>
        <div>
          <dt>Loss</dt>
          <dd>{few(status.loss)}</dd>
        </div>
        <div>
          <dt>Accuracy</dt>
          <dd>
            {status.accuracy === null ? "–" : `${few(100 * status.accuracy)} %`}
            {status.accuracyRound === null ? "" : ` (round ${status.accuracyRound})`}
          </dd>
        </div>
        <div>
          <dt>Last round took</dt>
          <dd>{status.roundSeconds === null ? "–" : `${few(status.roundSeconds)} s`}</dd>
        </div>
      </dl>
      {xs.length > 0 && (
        <Chart
          label={`Loss of ${xs.length} rounds; the last is ${few(status.loss)}`}
          xs={xs}
          ys={ys}
          xLabel="round"
          yLabel="loss"
        />
      )}
      <Members caption="Members" members={status.members} empty="The training has no member now." />
      <Members caption="Left" members={status.out} empty="No member has left." />
      <Table
        caption="Rejected updates"
        rows={rejected}
        keyOf={({ time, name, round }) => `${time} ${name} ${round}`}
        textOf={({ name, code }) => `${name} ${code}`}
        columns={[
          { head: "Trainer", cell: ({ name }) => name },
          { head: "Round", cell: ({ round }) => round, isNumber: true },
          { head: "Code", cell: ({ code }) => <code>{code}</code> },
          { head: "Time (UTC)", cell: ({ time }) => clock(time) },
        ]}
        empty="The aggregator has rejected no update."
      />
    </section>
  );
}

function Members({ caption, members, empty }: {
  readonly caption: string;
  readonly members: readonly ShownMember[];
  readonly empty: string;
}) {
  const now = useNow();
  return (
    <Table
      caption={caption}
      rows={members}
      keyOf={({ name, part }) => `${name} ${part}`}
      textOf={({ name, last }) => `${name} ${last}`}
      columns={[
        { head: "Name", cell: ({ name }) => name },
        { head: "Part", cell: ({ part }) => part },
        { head: "Last", cell: ({ last }) => last },
        {
          head: "At",
          cell: ({ at }) => at === null ? "–" : <time dateTime={at} title={clock(at)}>{away(at, now)}</time>,
        },
        { head: "Loss", cell: ({ loss }) => few(loss), isNumber: true },
      ]}
      empty={empty}
    />
  );
}
