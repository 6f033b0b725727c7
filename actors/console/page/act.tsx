/**
 * An act of the operator: a button, and a dialog that shows what will happen before it does.
 *
 * @module
 */
import type { ComponentChildren } from "preact";
import { useId, useRef, useState } from "preact/hooks";
import { type Answer, ask } from "./connection.ts";
import { useShown } from "./store.ts";

/** What an act did, and what is left to the operator. */
export interface Outcome {
  /** Undefined where nothing was done yet. */
  readonly done: string | undefined;
  readonly warnings: readonly string[];
}

interface ActProps {
  /** The route: `/drain`. */
  readonly path: string;
  readonly body?: unknown;
  /** Verb and object: `Revoke worker-03`. */
  readonly title: string;
  /** What will happen. */
  readonly does: readonly ComponentChildren[];
  /** Further fields of the dialog. */
  readonly fields?: ComponentChildren;
  /** Called when the dialog opens. */
  readonly onOpen?: () => void;
  /** The answer in words. */
  readonly done: (body: Answer["body"]) => string | Outcome;
  readonly short: string;
}

/** Draws the button; nothing where the program has no such act. */
export function Act({ path, body = {}, title, does, fields, onOpen, done, short }: ActProps) {
  const { parts: { acts = [] } } = useShown();
  const dialog = useRef<HTMLDialogElement>(null);
  const [answer, setAnswer] = useState<Answer | "asking" | undefined>();
  const id = useId();
  if (!acts.includes(`POST ${path}`)) return null;
  const open = () => {
    setAnswer(undefined);
    onOpen?.();
    dialog.current?.showModal();
  };
  const act = async () => {
    setAnswer("asking");
    setAnswer(await ask(path, body));
  };
  const isOver = answer !== undefined && answer !== "asking";
  return (
    <>
      <button type="button" onClick={open} aria-haspopup="dialog" aria-label={title}>{short}</button>
      <dialog ref={dialog} aria-labelledby={id}>
        <h2 id={id}>{title}</h2>
        <p>This will happen:</p>
        <ul>{does.map((each, index) => <li key={index}>{each}</li>)}</ul>
        {!isOver && fields}
        {isOver && <Answered answer={answer} done={done} />}
        <div class="buttons">
          <button type="button" onClick={() => dialog.current?.close()}>{isOver ? "Close" : "Cancel"}</button>
          {!isOver && (
            <button type="button" class="danger" disabled={answer === "asking"} onClick={() => void act()}>
              {title}
            </button>
          )}
        </div>
      </dialog>
    </>
  );
}

function Answered({ answer: { status, body }, done }: { readonly answer: Answer; readonly done: ActProps["done"] }) {
  if (status === 200) {
    const outcome = done(body);
    const { done: text, warnings } = typeof outcome === "string" ? { done: outcome, warnings: [] } : outcome;
    return (
      <div role="status">
        {text !== undefined && <p class="good">{text}</p>}
        {warnings.map((each) => <p key={each} class="warn">{each}</p>)}
      </div>
    );
  }
  return (
    <div role="alert" class="bad">
      <p>Refused: {String(body["error"] ?? status)}</p>
      {typeof body["hint"] === "string" && body["hint"] !== "" && <p>{body["hint"]}</p>}
    </div>
  );
}
