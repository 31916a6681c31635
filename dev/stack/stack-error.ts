/** An expected fault of the development stack: its message says in plain words what is wrong and what to do about it. */
export class StackError extends Error {
  override readonly name: string = "StackError";
}

/** A server found its port taken between our choice and its start: worth another try with another port. */
export class PortTakenError extends StackError {}

/** The code of a system's or a database's error, such as ENOENT or 28P01. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}

/** The words of any thrown value, for a one-line message. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
