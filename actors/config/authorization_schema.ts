/**
 * The schema of `[authorization]`: an operator's rules about what members may do.
 *
 * @module
 */
import { Schema } from "effect";
import { actNames } from "../../transport/authorization/acts.ts";
import { patternsMax, readPattern, rulesMax, whyNotAllowed } from "../../transport/authorization/rules.ts";
import { note, oneOf, optional, readable } from "./notes.ts";
import type { BrokenRule } from "./rules.ts";

const pattern = readable(readPattern, {
  expected: "a pattern such as spiffe://partner.example/scheduler/**, peer:PEERID or name:NAME",
  example: '"spiffe://partner.example/scheduler/**"',
  description: "",
});

const rule = Schema.Struct({
  effect: oneOf(
    ["deny", "allow"],
    '"deny"',
    "What the rule does: one that denies wins over each that allows, whatever their order.",
  ),
  acts: note(
    Schema.Array(oneOf(actNames, '"job.dispatch"', "")).check(
      Schema.isMinLength(1),
      Schema.isMaxLength(actNames.length),
    ),
    {
      expected: "a list of acts, not empty (docs/security.md has the table of them)",
      example: '["job.dispatch"]',
      description: "The acts that it is about.",
    },
  ),
  peers: note(Schema.Array(pattern).check(Schema.isMinLength(1), Schema.isMaxLength(patternsMax)), {
    expected: `a list of 1 to ${patternsMax} patterns`,
    example: '["spiffe://partner.example/scheduler/**"]',
    description:
      "Whom it is about: `spiffe://DOMAIN/ROLE/NAME` (`*` is one whole segment, a last `**` one or more), `peer:PEERID`, `name:NAME`.",
  }),
});

/** `[authorization]`. */
export const authorization = Schema.Struct({
  rules: optional(
    note(Schema.Array(rule).check(Schema.isMaxLength(rulesMax)), {
      expected: `a list of at most ${rulesMax} rules, each with effect, acts and peers`,
      example: '[{ effect = "deny", acts = ["job.dispatch"], peers = ["spiffe://partner.example/scheduler/**"] }]',
      description: "What members may do beyond or below the table of acts; taken up when the file changes.",
    }),
  ),
});

/** Acts that a rule may not allow: the role that the table gives them to exists for them. */
export function checkAuthorization({ authorization }: Readonly<Record<string, unknown>>): BrokenRule[] {
  return entriesOf(fieldOf(authorization, "rules")).flatMap((rule, index) => {
    if (fieldOf(rule, "effect") !== "allow") return [];
    return entriesOf(fieldOf(rule, "acts")).flatMap((name, at): BrokenRule[] => {
      const act = actNames.find((each) => each === name);
      const wrong = act === undefined ? undefined : whyNotAllowed(act);
      if (wrong === undefined) return [];
      return [{
        path: ["authorization", "rules", index, "acts", at],
        wrong: `${JSON.stringify(name)} ${wrong}`,
        expected: "another act, or an effect of deny",
        mend: "take it out, and give the member a certificate of the role",
      }];
    });
  });
}

const entriesOf = (value: unknown): readonly unknown[] => Array.isArray(value) ? value : [];

const fieldOf = (value: unknown, name: string): unknown =>
  typeof value === "object" && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
