/** One statement of a SQL file. */
export interface Statement {
  readonly text: string;
  /** The line of the file that `text` begins on, from 1. */
  readonly line: number;
}

/**
 * The tokens in which a semicolon ends nothing: dollar-quoted text, strings, quoted names and comments. A SQL-standard
 * function body (`begin atomic`) counts up to its first `end`.
 */
const OPAQUE =
  /(\$(?:[a-z_]\w*)?\$)[\s\S]*?\1|\be'(?:[^'\\]|\\[\s\S]|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|--.*|\/\*[\s\S]*?\*\/|\bbegin\s+atomic\b[\s\S]*?\bend\b|;/giy;

/** Cuts a SQL file into its statements, without the comments before them and the semicolons after them. */
export function splitStatements(sql: string): Statement[] {
  const statements: Statement[] = [];
  let begin: number | undefined;
  let at = 0;
  const cut = (): void => {
    if (begin !== undefined) statements.push({ text: sql.slice(begin, at).trimEnd(), line: lineAt(sql, begin) });
    begin = undefined;
  };
  while (at < sql.length) {
    // A dollar inside a longer word begins no quotation.
    OPAQUE.lastIndex = at;
    const token = sql[at] === "$" && /\w/.test(sql[at - 1] ?? "") ? undefined : OPAQUE.exec(sql)?.[0];
    const isComment = token !== undefined && /^(--|\/\*)/.test(token);
    if (token === ";") cut();
    else if (!isComment && /\S/.test(sql[at] ?? "")) begin ??= at;
    at += token?.length ?? 1;
  }
  cut();
  return statements;
}

/** The line that an offset lies on, from 1. */
export function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}
