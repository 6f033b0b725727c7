/**
 * The mutants of a source file: each is one small change that a test has to notice.
 *
 * Found on the syntax tree alone, without types: a guard or check taken away (condition → true, → false), a condition's
 * part taken away, `&&` ↔ `||`, an equality or `!` inverted, a boundary moved (`<` ↔ `<=`), a statement dropped, a
 * transition, guard or action of a machine dropped, a refusal returned as a success, a constant ± 1, `min` ↔ `max`,
 * `some` ↔ `every`.
 *
 * @module
 */
import { createHash } from "node:crypto";
import ts from "@typescript/typescript6";

/** One change of one file. */
export interface Mutant {
  /** Outlives shifted lines: file, enclosing function, original and mutated text, and which of several alike. */
  readonly id: string;
  readonly file: string;
  /** First line of the change, from 1. */
  readonly line: number;
  readonly original: string;
  readonly mutated: string;
  /** Offsets of the text that is replaced. */
  readonly start: number;
  readonly end: number;
  readonly replacement: string;
}

/** The text of the file with the mutant in it. */
export function applied(text: string, { start, end, replacement }: Mutant): string {
  return text.slice(0, start) + replacement + text.slice(end);
}

/** The text of `node` becomes `to`; `from` and `says` are the texts for a person, where they are clearer. */
type Edit = { readonly node: ts.Node; readonly to: string; readonly from?: string; readonly says?: string };

/** Longest text of a place that an identifier holds in full. */
const placeTextMax = 160;
/** Properties with texts for people, or with xstate's types: their values decide nothing. */
const prose = new Set(["detail", "hint", "message", "what", "why", "limit", "types"]);
/** Parts of a machine that can be taken out. */
const machineParts = new Set(["guard", "always", "after", "entry", "exit", "actions", "target", "meta"]);
/** Names of functions that answer yes or no. */
const yesOrNo =
  /(^|\.)#?(is|has|holds|may|can|same|covers|fits|was|allows|matches|includes|some|every|test|startsWith|endsWith)([A-Z]\w*)?$/;

const inverted: Partial<Record<ts.SyntaxKind, string>> = {
  [ts.SyntaxKind.EqualsEqualsEqualsToken]: "!==",
  [ts.SyntaxKind.ExclamationEqualsEqualsToken]: "===",
  [ts.SyntaxKind.LessThanToken]: ">=",
  [ts.SyntaxKind.LessThanEqualsToken]: ">",
  [ts.SyntaxKind.GreaterThanToken]: "<=",
  [ts.SyntaxKind.GreaterThanEqualsToken]: "<",
};
const boundary: Partial<Record<ts.SyntaxKind, string>> = {
  [ts.SyntaxKind.LessThanToken]: "<=",
  [ts.SyntaxKind.LessThanEqualsToken]: "<",
  [ts.SyntaxKind.GreaterThanToken]: ">=",
  [ts.SyntaxKind.GreaterThanEqualsToken]: ">",
};
const swappedCalls: ReadonlyMap<string, string> = new Map([
  ["min", "max"],
  ["max", "min"],
  ["some", "every"],
  ["every", "some"],
]);

const isLogical = (kind: ts.SyntaxKind) =>
  kind === ts.SyntaxKind.AmpersandAmpersandToken || kind === ts.SyntaxKind.BarBarToken ||
  kind === ts.SyntaxKind.QuestionQuestionToken;

function bare(node: ts.Expression): ts.Expression {
  return ts.isParenthesizedExpression(node) || ts.isAsExpression(node) ? bare(node.expression) : node;
}

/** Whether an expression is boolean, as far as its form shows. */
function isDecision(of: ts.Expression): boolean {
  const node = bare(of);
  if (ts.isPrefixUnaryExpression(node)) return node.operator === ts.SyntaxKind.ExclamationToken;
  if (ts.isCallExpression(node)) return yesOrNo.test(node.expression.getText());
  if (!ts.isBinaryExpression(node)) return false;
  const { kind } = node.operatorToken;
  if (inverted[kind] !== undefined || kind === ts.SyntaxKind.InKeyword) return true;
  if (kind === ts.SyntaxKind.QuestionQuestionToken || !isLogical(kind)) return false;
  return isDecision(node.left) && isDecision(node.right);
}

/** Whether `node` is a whole condition, which is mutated to true and false: inverting it adds nothing to these. */
function isCondition(node: ts.Node): boolean {
  const { parent } = node;
  if (ts.isParenthesizedExpression(parent)) return isCondition(parent);
  if (ts.isIfStatement(parent) || ts.isWhileStatement(parent)) return parent.expression === node;
  if (ts.isForStatement(parent)) return parent.condition === node; // without it the loop is dropped
  if (ts.isConditionalExpression(parent)) return parent.condition === node;
  return isAnswer(node);
}

/** Whether `node` is the result of a function: its return expression, or the whole body of an arrow function. */
function isAnswer(node: ts.Node): boolean {
  return ts.isReturnStatement(node.parent) || (ts.isArrowFunction(node.parent) && node.parent.body === node);
}

function functionAround(node: ts.Node): ts.SignatureDeclaration | undefined {
  return ts.findAncestor(node.parent, ts.isFunctionLike) as ts.SignatureDeclaration | undefined;
}

/** The declared return type of a function, as text; empty where it declares none. */
function declaredReturn(node: ts.Node): string {
  return functionAround(node)?.type?.getText() ?? "";
}

function nameOf(node: ts.Node): string | undefined {
  if (ts.isFunctionDeclaration(node) || ts.isClassDeclaration(node)) return node.name?.text;
  if (ts.isMethodDeclaration(node) || ts.isAccessor(node) || ts.isPropertyAssignment(node)) return node.name.getText();
  if (ts.isPropertyDeclaration(node)) return node.name.getText();
  if (ts.isConstructorDeclaration(node)) return "constructor";
  return ts.isVariableDeclaration(node) && ts.isIdentifier(node.name) ? node.name.text : undefined;
}

/** The names around a place, outermost first: `Admission.#source`, `signatureAlgorithms`. */
function placeOf(node: ts.Node): string {
  const names: string[] = [];
  for (let up: ts.Node | undefined = node.parent; up !== undefined; up = up.parent) {
    const name = nameOf(up);
    if (name !== undefined) names.unshift(name);
  }
  return names.join(".") || "module";
}

function conditionEdits(node: ts.Node): Edit[] {
  if (ts.isIfStatement(node)) return both(node.expression);
  if (ts.isConditionalExpression(node)) return both(node.condition);
  return [];
}

const both = (node: ts.Expression): Edit[] =>
  ["true", "false"].filter((to) => node.getText() !== to).map((to) => ({ node, to }));

/** A function's answer: yes, no, or nothing where it may be nothing (for a check: no refusal). */
function answerEdits(node: ts.Node): Edit[] {
  const answer = ts.isReturnStatement(node) ? node.expression : ts.isArrowFunction(node) ? node.body : undefined;
  if (answer === undefined || ts.isBlock(answer)) return [];
  const text = answer.getText();
  if (text === "true" || text === "false") return [{ node: answer, to: text === "true" ? "false" : "true" }];
  const returns = ts.isReturnStatement(node) ? declaredReturn(node) : (node as ts.ArrowFunction).type?.getText() ?? "";
  const guard = ts.isArrowFunction(node) && ts.findAncestor(node, (up) => nameOf(up) === "guards") !== undefined;
  if (returns === "boolean" || / is /.test(returns) || guard || isDecision(answer)) return both(answer);
  return /\| undefined$/.test(returns) && text !== "undefined" ? [{ node: answer, to: "undefined" }] : [];
}

function binaryEdits(node: ts.BinaryExpression): Edit[] {
  const { left, right, operatorToken: { kind } } = node;
  const [a, b] = [left.getText(), right.getText()];
  const paired = (operator: string) => ({ node, to: `${a} ${operator} ${b}` });
  if (isLogical(kind)) {
    const parts = [{ node, to: a }, { node, to: b }];
    if (kind === ts.SyntaxKind.QuestionQuestionToken) return parts;
    const operator = kind === ts.SyntaxKind.BarBarToken ? "&&" : "||";
    return [...parts, { node, to: `(${a}) ${operator} (${b})` }];
  }
  if (kind === ts.SyntaxKind.QuestionQuestionEqualsToken) return [paired("=")];
  const edits: Edit[] = [];
  const moved = boundary[kind];
  if (moved !== undefined) edits.push(paired(moved));
  const opposite = inverted[kind];
  if (opposite !== undefined && !isCondition(node)) edits.push(paired(opposite));
  return edits;
}

function callEdits(node: ts.CallExpression): Edit[] {
  const { expression: callee } = node;
  if (callee.getText() === "Result.fail") return [{ node, to: "Result.succeed(undefined)" }];
  if (!ts.isPropertyAccessExpression(callee)) return [];
  const other = swappedCalls.get(callee.name.text);
  return other === undefined ? [] : [{ node: callee, to: `${callee.expression.getText()}.${other}` }];
}

function constantEdits(node: ts.Node): Edit[] {
  if (!ts.isNumericLiteral(node) && !ts.isBigIntLiteral(node)) return [];
  const text = node.getText().replaceAll("_", "");
  const suffix = text.endsWith("n") ? "n" : "";
  const value = BigInt(Math.trunc(Number(text.replace(/n$/, ""))));
  const around = node.parent.getText();
  const at = node.getStart() - node.parent.getStart();
  return [value + 1n, value - 1n].filter((next) => next >= 0n).map((next) => {
    const to = `${next}${suffix}`;
    return { node, to, from: around, says: around.slice(0, at) + to + around.slice(at + node.getText().length) };
  });
}

function statementEdits(node: ts.Node): Edit[] {
  if (ts.isExpressionStatement(node)) {
    return /^(super\(|["'])/.test(node.getText()) ? [] : [{ node, to: ";", says: "(dropped)" }];
  }
  const loop = ts.isForOfStatement(node) || ts.isForStatement(node) || ts.isWhileStatement(node);
  return loop ? [{ node, to: ";", says: "(dropped)" }] : [];
}

/** Removes parts of a machine: transitions of a list, guards, actions, timers, handlers of events. */
function machineEdits(node: ts.Node): Edit[] {
  if (ts.isArrayLiteralExpression(node)) {
    const isWay = (element: ts.Node) =>
      ts.isObjectLiteralExpression(element) && /\b(target|guard):/.test(element.getText());
    if (!node.elements.some(isWay)) return [];
    return node.elements.map((way) => {
      const rest = node.elements.filter((each) => each !== way).map((each) => each.getText());
      return { node, to: `[${rest.join(", ")}]`, says: `without ${way.getText()}` };
    });
  }
  if (!ts.isPropertyAssignment(node) || !ts.isObjectLiteralExpression(node.parent)) return [];
  const around = node.parent.parent;
  const event = ts.isPropertyAssignment(around) && around.name.getText() === "on";
  return event || machineParts.has(node.name.getText()) ? [{ node, to: "...{}", says: "(dropped)" }] : [];
}

function editsAt(node: ts.Node, machine: boolean): Edit[] {
  const edits = [...conditionEdits(node), ...answerEdits(node), ...statementEdits(node), ...constantEdits(node)];
  if (ts.isBinaryExpression(node)) edits.push(...binaryEdits(node));
  if (ts.isCallExpression(node)) edits.push(...callEdits(node));
  if (ts.isPrefixUnaryExpression(node) && node.operator === ts.SyntaxKind.ExclamationToken && !isCondition(node)) {
    edits.push({ node, to: node.operand.getText() });
  }
  if (machine) edits.push(...machineEdits(node));
  return edits;
}

function isPassedOver(node: ts.Node): boolean {
  if (ts.isTypeNode(node) || ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return true;
  if (ts.isInterfaceDeclaration(node) || ts.isTypeAliasDeclaration(node)) return true;
  if (ts.isPropertyAssignment(node) && prose.has(node.name.getText())) return true;
  if (ts.isGetAccessor(node) && prose.has(node.name.getText())) return true;
  return ts.isNewExpression(node) && node.expression.getText() === "Error";
}

const oneLine = (text: string) => text.replaceAll(/\s+/g, " ").trim();

/** A text short enough for an identifier, and still its own. */
function shortened(text: string): string {
  const line = oneLine(text);
  if (line.length <= placeTextMax) return line;
  return `${line.slice(0, placeTextMax)}… ${createHash("sha256").update(line).digest("hex").slice(0, 8)}`;
}

/** Every mutant of a file, in the order of their places. */
export function mutantsOf(file: string, text: string): Mutant[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const machine = /from "xstate"/.test(text);
  const edits: Edit[] = [];
  const visit = (node: ts.Node) => {
    if (isPassedOver(node)) return;
    edits.push(...editsAt(node, machine));
    ts.forEachChild(node, visit);
  };
  visit(source);
  const seen = new Set<string>();
  const alike = new Map<string, number>();
  return edits.flatMap(({ node, to, from, says }) => {
    const [start, end] = [node.getStart(), node.getEnd()];
    // The replacement of an operator may bind tighter than the whole expression.
    const replacement = ts.isExpression(node) && !ts.isLiteralExpression(node) ? `(${to})` : to;
    const same = `${start} ${end} ${oneLine(to)}`;
    if (seen.has(same)) return [];
    seen.add(same);
    const [original, mutated] = [shortened(from ?? node.getText()), shortened(says ?? to)];
    const name = `${file} › ${placeOf(node)}: ${original} → ${mutated}`;
    const nth = (alike.get(name) ?? 0) + 1;
    alike.set(name, nth);
    const line = source.getLineAndCharacterOfPosition(start).line + 1;
    return [{ id: nth === 1 ? name : `${name} #${nth}`, file, line, original, mutated, start, end, replacement }];
  }).sort((a, b) => a.start - b.start);
}
