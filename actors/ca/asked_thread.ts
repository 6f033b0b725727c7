/**
 * A thread that answers one question at a time. It waits between questions, and does not keep the process alive.
 *
 * @module
 */
import type { Worker } from "node:worker_threads";
import { startThread } from "../runtime/thread.ts";

/** A thread without a question is ended after this time, in milliseconds: it holds 25 MB. */
const idleMs = 60_000;
/**
 * Starting a thread stops Deno's event loop for 40 to 100 ms, Node's for one: there it is started before the port opens, and stays.
 */
const stays = "Deno" in globalThis;

/** A thread's file: in this folder, and next to the chunks of the package. */
export type ThreadName = "list_thread" | "backup_thread";

/** What a question does with a message: answers the thread by `send`, or ends with what it returns. */
export type Hear<Message, A> = (message: Message, send: (more: unknown) => void) => A | undefined;

interface Asking<Message> {
  readonly hear: (message: Message, send: (more: unknown) => void) => void;
  readonly fail: (detail: string) => void;
}

/** A thread that is started with its first question. One that ended is started again. */
export class AskedThread<Question, Message> {
  readonly #name: ThreadName;
  #worker: Worker | undefined;
  #asking: Asking<Message> | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #idle: NodeJS.Timeout | undefined;

  constructor(name: ThreadName) {
    this.#name = name;
  }

  /** Starts it where that takes long. */
  prepare(): void {
    if (stays) this.#worker ??= this.#started();
  }

  /** Asks. Questions wait for the ones before; a thread that ends fails its question. */
  ask<A>(question: Question, hear: Hear<Message, A>): Promise<A> {
    const answer = this.#last.then(() => this.#ask(question, hear));
    this.#last = answer.catch(() => {});
    return answer;
  }

  /** Ends it. */
  end(): void {
    clearTimeout(this.#idle);
    void this.#worker?.terminate();
    this.#over("it was closed");
  }

  #ask<A>(question: Question, hear: Hear<Message, A>): Promise<A> {
    return new Promise((resolve, reject) => {
      clearTimeout(this.#idle);
      this.#worker ??= this.#started();
      const settle = (act: () => void) => {
        this.#asking = undefined;
        this.#worker?.unref();
        if (!stays) this.#idle = setTimeout(() => this.end(), idleMs).unref();
        act();
      };
      this.#asking = {
        hear: (message, send) => {
          const answer = hear(message, send);
          if (answer !== undefined) settle(() => resolve(answer));
        },
        fail: (detail) => settle(() => reject(new Error(`the thread ended: ${detail}`))),
      };
      this.#worker.ref();
      this.#worker.postMessage(question);
    });
  }

  #started(): Worker {
    // A small heap for what is soon garbage keeps the peak down (Node; Deno has no such limit).
    const worker = startThread(this.#name, import.meta.url, { resourceLimits: { maxYoungGenerationSizeMb: 8 } });
    const over = (detail: string) => {
      if (this.#worker === worker) this.#over(detail);
    };
    worker.on("message", (message: Message) => this.#asking?.hear(message, (more) => worker.postMessage(more)));
    worker.on("error", (error) => over(String(error)));
    worker.on("exit", (code) => over(`code ${code}`));
    worker.unref();
    return worker;
  }

  #over(detail: string): void {
    this.#worker = undefined;
    this.#asking?.fail(detail);
  }
}
