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

/** What a dialog shows and does. */
interface Deed {
  /** The route: `/drain`. */
  readonly path: string;
  readonly body?: Readonly<Record<string, unknown>>;
  /** Verb and object: `Revoke worker-03`. */
  readonly title: string;
  /** What will happen. */
  readonly does: readonly ComponentChildren[];
  /** The answer in words. */
  readonly done: (body: Answer["body"]) => string | Outcome;
}

interface ActProps extends Deed {
  /** Further fields of the dialog; by their names they go into the body. */
  readonly fields?: ComponentChildren;
  /** Undefined where the act is not offered now: no button is drawn, and a dialog that is open stays. */
  readonly short: string | undefined;
}

/** A dialog that is open: it shows what it showed when it was opened, whatever changes behind it. */
interface Opened {
  readonly deed: Deed;
  readonly answer?: Answer | "asking";
}

/** Draws the button; nothing where the program has no such act. */
export function Act({ fields, short, ...offered }: ActProps) {
  const { parts: { acts = [] } } = useShown();
  const dialog = useRef<HTMLDialogElement>(null);
  const form = useRef<HTMLFormElement>(null);
  const [opened, setOpened] = useState<Opened | undefined>();
  const id = useId();
  const { deed, answer } = opened ?? { deed: offered };
  const { path, body = {}, title, does, done } = deed;
  if (!acts.includes(`POST ${path}`)) return null;
  const open = () => {
    setOpened({ deed: offered });
    dialog.current?.showModal();
  };
  const act = async () => {
    const given = form.current === null ? {} : Object.fromEntries(new FormData(form.current));
    setOpened({ deed, answer: "asking" });
    const answer = await ask(path, { ...body, ...given });
    setOpened({ deed, answer });
  };
  const isUnderWay = answer === "asking";
  const isOver = answer !== undefined && !isUnderWay;
  // Escape closes a dialog even where it has no button to close it: one that waits for its outcome is opened again.
  const onClose = () => isUnderWay ? dialog.current?.showModal() : setOpened(undefined);
  return (
    <>
      {short !== undefined && (
        <button type="button" onClick={open} aria-haspopup="dialog" aria-label={offered.title}>{short}</button>
      )}
      <dialog ref={dialog} aria-labelledby={id} onClose={onClose}>
        <h2 id={id}>{title}</h2>
        <p>This will happen:</p>
        <ul>{does.map((each, index) => <li key={index}>{each}</li>)}</ul>
        {!isOver && <form ref={form}>{fields}</form>}
        {isUnderWay && (
          <p aria-live="polite">The request was sent and cannot be cancelled. Its outcome is shown here.</p>
        )}
        {isOver && <Answered answer={answer} done={done} />}
        <div class="buttons">
          <button type="button" disabled={isUnderWay} onClick={() => dialog.current?.close()}>
            {isOver ? "Close" : "Cancel"}
          </button>
          {!isOver && (
            <button type="button" class="danger" disabled={isUnderWay} onClick={() => void act()}>
              {title}
            </button>
          )}
        </div>
      </dialog>
    </>
  );
}

/** Where no answer came. */
const unknownOutcome = {
  error: "The program did not answer.",
  hint: "It is not known whether this was done: look at the program's state and log before you do it again.",
};

function Answered(
  { answer: { status, body: answered }, done }: { readonly answer: Answer; readonly done: ActProps["done"] },
) {
  const body: Answer["body"] = status === 0 ? unknownOutcome : answered;
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
  const isRefusal = status !== 0 && body["code"] !== "not-kept"; // it may have been done, or was
  return (
    <div role="alert" class={isRefusal ? "bad" : "warn"}>
      <p>{isRefusal ? "Refused" : "Warning"}: {String(body["error"] ?? status)}</p>
      {typeof body["hint"] === "string" && body["hint"] !== "" && <p>{body["hint"]}</p>}
    </div>
  );
}
