import ts from 'typescript';

/** A program in which one single check is taken out. */
export interface Mutant {
  /** Of the source file, from the repository's root. */
  readonly file: string;
  readonly line: number;
  /** What is taken out, on one line. */
  readonly check: string;
  /** What stands there instead, as TypeScript. */
  readonly instead: string;
}

/** Where a mutant's check stands in the text, and what is put around it. */
interface Place {
  readonly mutant: Mutant;
  readonly start: number;
  readonly end: number;
  /** An element of a list is left out; everything else is an expression with another value. */
  readonly isElement: boolean;
}

/** Array methods whose predicate says which things are taken. */
const SELECTIONS = new Set(['filter', 'find', 'every']);

/**
 * Every single check of a module: what makes it return, throw or go on early; each part of a condition that has several; each
 * predicate by which things are selected; each field of a list that is gone through; each anchor of a pattern.
 */
export function findMutants(file: string, text: string): Mutant[] {
  return placesIn(file, text).map(({ mutant }) => mutant);
}

/**
 * The module with all of its mutants in it. `globalThis.offshootMutant`, asked for whenever the check is made, says which one
 * is on: its number in `mutants`, counted from `from`.
 */
export function withMutants(file: string, text: string, from: number): string {
  const insertions: { at: number; text: string; rank: number }[] = [];
  placesIn(file, text).forEach(({ mutant, start, end, isElement }, index) => {
    const isOn = `globalThis.offshootMutant===${String(from + index)}`;
    const [before, after] = isElement ? [`...(${isOn}?[]:[`, `])`] : [`(${isOn}?${mutant.instead}:(`, `))`];
    // Places lie within each other: of several that begin here the longest comes first, of several that end here last.
    insertions.push(
      { at: start, text: before, rank: 1e9 - (end - start) },
      { at: end, text: after, rank: end - start - 1e9 },
    );
  });
  insertions.sort((a, b) => b.at - a.at || b.rank - a.rank);
  return insertions.reduce((done, { at, text: piece }) => done.slice(0, at) + piece + done.slice(at), text);
}

function placesIn(file: string, text: string): Place[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true);
  const places: Place[] = [];
  const add = (node: ts.Node, instead: string, isElement = false): void => {
    const start = node.getStart(source);
    const line = source.getLineAndCharacterOfPosition(start).line + 1;
    const check = node.getText(source).replace(/\s+/g, ' ');
    places.push({ mutant: { file, line, check, instead }, start, end: node.getEnd(), isElement });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isIfStatement(node) && node.elseStatement === undefined && !isDisjunction(node.expression))
      add(node.expression, isAcceptance(node) ? 'true' : 'false');
    else if (ts.isBinaryExpression(node) && isLogical(node)) {
      const neutral = isDisjunction(node) ? 'false' : 'true';
      for (const operand of [node.left, node.right])
        if (!ts.isBinaryExpression(operand) || operand.operatorToken.kind !== node.operatorToken.kind)
          add(operand, neutral);
    } else if (ts.isCallExpression(node)) {
      const predicate = selectionBy(node);
      if (predicate !== undefined && !isLogical(predicate)) add(predicate, 'true');
    } else if (ts.isRegularExpressionLiteral(node)) {
      const pattern = node.text;
      if (pattern.startsWith('/^')) add(node, `/${pattern.slice(2)}`);
      if (/\$\/[a-z]*$/.test(pattern)) add(node, pattern.replace(/\$(\/[a-z]*)$/, '$1'));
    } else if (ts.isForOfStatement(node)) {
      const list = ts.isAsExpression(node.expression) ? node.expression.expression : node.expression;
      if (ts.isArrayLiteralExpression(list)) for (const element of list.elements) add(element, '', true);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return places;
}

const isDisjunction = (node: ts.Node): boolean =>
  ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.BarBarToken;

const isLogical = (node: ts.Node): boolean =>
  isDisjunction(node) ||
  (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.AmpersandAmpersandToken);

/** `if (good) return;` before a throw: there the check is taken out by going on as if it were good. */
function isAcceptance({ thenStatement, parent }: ts.IfStatement): boolean {
  if (!ts.isReturnStatement(thenStatement) || !ts.isBlock(parent)) return false;
  const next = parent.statements[parent.statements.findIndex((each) => each === thenStatement.parent) + 1];
  return next !== undefined && ts.isThrowStatement(next) && !isRefusal(thenStatement);
}

/** What is returned is made by a function of a telling name, or is nothing one could go on with. */
const isRefusal = ({ expression }: ts.ReturnStatement): boolean =>
  expression !== undefined && /^(?:bad|reject|undefined)\b/.test(expression.getText());

/** The body of the predicate that a selection is made by; undefined for other calls. */
function selectionBy({ expression, arguments: [predicate] }: ts.CallExpression): ts.Expression | undefined {
  if (!ts.isPropertyAccessExpression(expression) || !SELECTIONS.has(expression.name.text)) return undefined;
  if (predicate === undefined || !ts.isArrowFunction(predicate) || ts.isBlock(predicate.body)) return undefined;
  return predicate.body;
}
