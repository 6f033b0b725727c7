/**
 * A Containerfile as its builders read it: stages of instructions.
 *
 * @module
 */

/** One instruction: its name in upper case, and the rest of its line. */
interface Instruction {
  readonly name: string;
  readonly rest: string;
}

/** A stage: what `FROM … AS name` begins. */
export interface Stage {
  readonly name: string;
  readonly base: string;
  readonly steps: readonly Instruction[];
}

/** A file that a stage copies: sources and target, and the stage that it comes from. */
export interface Copy {
  readonly from: string | undefined;
  readonly chown: string | undefined;
  readonly sources: readonly string[];
  readonly target: string;
}

/** The stages of a Containerfile, without what stands before the first one. Instructions lie on one line each. */
export function stagesOf(text: string): readonly Stage[] {
  const lines = text.split("\n").filter((line) => line.trim() !== "" && !line.startsWith("#"));
  const all = lines.map((line): Instruction => {
    const [, name = "", rest = ""] = /^([A-Z]+)\s+(.*)$/.exec(line) ?? [];
    if (name === "") throw new Error(`Cannot read the Containerfile: no instruction in ${JSON.stringify(line)}`);
    return { name, rest };
  });
  const starts = all.flatMap(({ name }, index) => name === "FROM" ? [index] : []);
  return starts.map((start, nth) => {
    const [base = "", , name = ""] = all[start]?.rest.split(/\s+/) ?? [];
    return { name, base, steps: all.slice(start + 1, starts[nth + 1]) };
  });
}

/** The arguments of a stage's instructions of one name. */
export const argumentsOf = ({ steps }: Stage, wanted: string): readonly string[] =>
  steps.filter(({ name }) => name === wanted).map(({ rest }) => rest);

/** What a stage copies, in order. */
export function copiesOf(stage: Stage): readonly Copy[] {
  return argumentsOf(stage, "COPY").map((rest) => {
    const words = rest.split(/\s+/);
    const flag = (name: string) => words.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3);
    const paths = words.filter((word) => !word.startsWith("--"));
    return { from: flag("from"), chown: flag("chown"), sources: paths.slice(0, -1), target: paths.at(-1) ?? "" };
  });
}

/** A command in the form of a list, as CMD, RUN and HEALTHCHECK have it. */
export function listedCommand(rest: string): readonly string[] {
  return JSON.parse(rest.slice(rest.indexOf("["))) as readonly string[];
}
