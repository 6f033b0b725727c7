/**
 * What a scheduler lets its operator do over its admin socket. Bodies and answers are JSON; times are RFC 3339.
 *
 * @module
 */
import { Effect, Result, Schema } from "effect";
import { emptyBody, jsonRoute } from "../admin/json_route.ts";
import type { AdminAnswer, AdminRoutes } from "../admin/serve_admin.ts";
import type { Ports, Services } from "../runtime/ports.ts";
import { trainingFolder } from "../training/checkpoints.ts";
import { readEvents } from "./read_events.ts";
import { type Pieces, receiveTraining, type SubmissionRefused, withdrawTraining } from "./receive_training.ts";
import { type KnownTraining, trainingIdPattern } from "./training_record.ts";

/** What the operator asks of the scheduler itself. */
export type AdminAsk =
  | { readonly type: "list" }
  /** Whether there is room for one more training, those included that are being received. */
  | { readonly type: "room"; readonly receiving: number }
  | { readonly type: "submit"; readonly training: KnownTraining }
  | { readonly type: "status" | "cancel" | "resume"; readonly id: string };

/** The event that carries it to the scheduler. */
export interface AdminAsked {
  readonly type: "admin.asked";
  readonly ask: AdminAsk;
  readonly reply: (answer: AdminAnswer) => void;
}

/** What the routes are made with. */
export interface AdminRoutesInit {
  readonly ports: Pick<Ports, "now" | "run" | "uuid">;
  readonly stateDir: string;
  readonly ask: (ask: AdminAsk) => Promise<AdminAnswer>;
  /** Gets the name of each training that is being received, until the scheduler has answered its submission. */
  readonly receiving: Set<string>;
}

/** Trainings that are received at once; one more is refused. */
export const receivedAtOnceMax = 4;

const id = Schema.String.check(Schema.isPattern(trainingIdPattern));
const idBody = Schema.Struct({ id });
/** A SPIFFE name has at most so many characters. */
const nameMax = 2_048;
const logsBody = Schema.Struct({ id, worker: Schema.optionalKey(Schema.String.check(Schema.isMaxLength(nameMax))) });

/** All of them. */
export function adminRoutes({ ports, stateDir, ask, receiving }: AdminRoutesInit): AdminRoutes {
  let uploads = 0;
  const receive = async (body: Pieces): Promise<AdminAnswer> => {
    const room = await ask({ type: "room", receiving: uploads - 1 });
    if (room.status !== 200) return room;
    const name = `t-${ports.uuid().replaceAll("-", "").slice(0, 8)}`;
    receiving.add(name);
    try {
      return await submit(body, name);
    } finally {
      receiving.delete(name);
    }
  };
  const submit = async (body: Pieces, name: string): Promise<AdminAnswer> => {
    const place = { stateDir, id: name, now: ports.now() };
    const received = await valueOf(ports, Effect.result(receiveTraining(body, place)));
    if (Result.isFailure(received)) return refusal(received.failure);
    const answer = await ask({ type: "submit", training: received.success });
    if (answer.status === 200) return answer;
    // The scheduler began to end, or got another key, during the upload.
    const withdrawn = await valueOf(ports, Effect.result(withdrawTraining(place)));
    return Result.isFailure(withdrawn) ? refusal(withdrawn.failure) : answer;
  };
  return {
    "GET /trainings": jsonRoute({ summary: "List the trainings.", body: emptyBody }, () => ask({ type: "list" })),
    "POST /trainings/status": jsonRoute(
      { summary: "Show a training.", body: idBody },
      (body) => ask({ type: "status", ...body }),
    ),
    "POST /trainings/cancel": jsonRoute(
      { summary: "End a training.", body: idBody },
      (body) => ask({ type: "cancel", ...body }),
    ),
    "POST /trainings/resume": jsonRoute(
      { summary: "Go on with a training.", body: idBody },
      (body) => ask({ type: "resume", ...body }),
    ),
    "POST /trainings/logs": jsonRoute(
      { summary: "Show a training's events.", body: logsBody },
      async ({ id, worker }) => {
        const known = await ask({ type: "status", id });
        if (known.status !== 200) return known;
        const read = await valueOf(ports, Effect.result(readEvents(trainingFolder(stateDir, id), worker)));
        return Result.isSuccess(read)
          ? { status: 200, body: { events: read.success } }
          : { status: 500, body: { code: "unreadable-log", error: read.failure.message } };
      },
    ),
    "POST /trainings": {
      summary: "Submit a training: its job and its files.",
      upload: async (body) => {
        if (uploads >= receivedAtOnceMax) {
          const error = `${receivedAtOnceMax} trainings are being received: try again`;
          return { status: 503, body: { code: "too-many-submissions", error } };
        }
        uploads += 1;
        try {
          return await receive(body);
        } finally {
          uploads -= 1;
        }
      },
    },
  };
}

const statuses: Readonly<Record<SubmissionRefused["code"], number>> = {
  "not-a-job": 400,
  "wrong-file": 400,
  "broken-off": 400,
  "no-space": 507,
  "not-written": 507,
};

function refusal({ code, message }: SubmissionRefused): AdminAnswer {
  return { status: statuses[code], body: { code, error: message } };
}

/** The value of an Effect. */
function valueOf<A>(ports: Pick<Ports, "run">, effect: Effect.Effect<A, never, Services>): Promise<A> {
  return new Promise((resolve, reject) => {
    ports.run(effect, (exit) => exit._tag === "Success" ? resolve(exit.value) : reject(new Error("no answer")));
  });
}
