/**
 * The commands to a node that runs. They go over its admin socket.
 *
 * @module
 */
import process from "node:process";
import { Effect, type FileSystem } from "effect";
import { askAdmin } from "../../actors/admin/ask_admin.ts";
import type { ShownNode } from "../../actors/node/shown_node.ts";
import type { LogLevel } from "../../actors/runtime/ports.ts";
import type { ShownTraining } from "../../actors/scheduler/status.ts";
import { ask, type AskedProgram, socketOf } from "./asking.ts";
import { ProgramFailed } from "./failure.ts";
import { nodeText } from "./node_text.ts";
import { showStatus } from "./watch_status.ts";

/** A node's status; of a scheduler with its trainings, null while it cannot say them. */
export type ShownStatusOfNode = ShownNode & { readonly trainings?: readonly ShownTraining[] | null };

type Command = Effect.Effect<void, ProgramFailed, FileSystem.FileSystem>;
type Format = "text" | "json";

/** Between two looks at a renewal, or at a node that ends, in milliseconds. */
const lookMs = 200;
/** A renewal is waited for so long, in milliseconds: a CA answers within 30 s, and the files are taken up within one. */
const renewMs = 60_000;

const print = (text: string) => process.stdout.write(`${text}\n`);
const failed = (message: string) => new ProgramFailed({ exitCode: 1, notice: message });
const lookAt = (program: AskedProgram) => ask<ShownStatusOfNode>(program, "GET /status");

/** Shows the node; with `watch`, whenever it changed. */
export function status(program: AskedProgram & { readonly format: Format; readonly watch: boolean }): Command {
  return showStatus({ ...program, look: lookAt(program), asText: nodeText });
}

/** Renews the node's certificate, and waits until the new one is in force. */
export function renew(program: AskedProgram & { readonly format: Format }): Command {
  return Effect.gen(function* () {
    const before = yield* lookAt(program);
    yield* ask(program, "POST /renew");
    const end = performance.now() + renewMs;
    while (performance.now() < end) {
      yield* Effect.sleep(lookMs);
      const { certificate, renewal } = yield* lookAt(program);
      if (certificate !== null && certificate.generation !== before.certificate?.generation) {
        const { serial, notAfter } = certificate;
        print(program.format === "json" ? JSON.stringify({ serial, notAfter }) : `renewed: valid until ${notAfter}`);
        return;
      }
      const isOver = renewal?.state === "waiting" || renewal?.state === "failed";
      if (isOver) return yield* failed(renewal.error ?? "the CA wants an approval first: see hypha-ca requests");
    }
    return yield* failed(`no certificate within ${renewMs / 1_000} s; the node goes on with its own: see its log`);
  });
}

/** Lets the node read its files again. */
export function reload(program: AskedProgram): Command {
  return Effect.map(ask(program, "POST /reload"), () => void print("reading its files again: see its log"));
}

/** Ends the node in order, and waits for its end. */
export function drain(program: AskedProgram): Command {
  return Effect.gen(function* () {
    const socket = yield* socketOf(program);
    const { withinMs } = yield* ask<{ readonly withinMs: number }>(program, "POST /drain");
    const end = performance.now() + withinMs;
    for (let leftMs = withinMs; leftMs > 0; leftMs = Math.ceil(end - performance.now())) {
      const isGone = yield* Effect.match(askAdmin(socket, "GET /status", {}, leftMs), {
        onSuccess: () => false,
        onFailure: ({ problem }) => problem === "not-running",
      });
      if (isGone) return void print("ended");
      yield* Effect.sleep(lookMs);
    }
    return yield* failed(`it has not ended within ${withinMs / 1_000} s`);
  });
}

/** Changes the level of the node's log. */
export function logLevel(program: AskedProgram & { readonly level: LogLevel }): Command {
  const { level } = program;
  return Effect.map(ask(program, "POST /log-level", { level }), () => void print(`logs from ${level} on`));
}
