import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";

/** A process of the benchmark's own: it is given its task, says "ready" when it has prepared, and answers one result. */
export interface Child<Result> extends AsyncDisposable {
  readonly pid: number;
  /** Starts the measured part; answers what the child says of it. */
  go(): Promise<Result>;
}

/** Starts `children/<name>.ts` with a task and waits until it is ready. */
export async function startChild<Task, Result>(name: string, task: Task): Promise<Child<Result>> {
  const child = fork(fileURLToPath(new URL(`children/${name}.ts`, import.meta.url)), { execArgv: [] });
  const exited = new Promise<string>((resolve) =>
    child.once("exit", (code, signal) => resolve(signal ?? `code ${code}`)),
  );
  const failed = exited.then((how) => Promise.reject(new Error(`the process ${name} ended too early: ${how}`)));
  failed.catch(() => {});
  const next = (): Promise<unknown> => {
    const message = new Promise((resolve) => child.once("message", resolve));
    return Promise.race([message, failed]);
  };
  const ready = next();
  child.send(task as object);
  await ready;
  return {
    pid: child.pid ?? 0,
    async go() {
      const result = next();
      child.send("go");
      return (await result) as Result;
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** The other end: prepares, then measures when told to. Ends with its parent. */
export async function serveTask<Task>(prepare: (task: Task) => Promise<() => Promise<unknown>>): Promise<void> {
  process.once("disconnect", () => process.exit());
  const next = (): Promise<unknown> => new Promise((resolve) => process.once("message", resolve));
  const measure = await prepare((await next()) as Task);
  const told = next();
  process.send?.("ready");
  await told;
  process.send?.((await measure()) ?? null);
}
