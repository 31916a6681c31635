import { createRedisBackend, type BackendFactory, type RedisQueueBackend } from "bullmq";
import { addStandardJob } from "bullmq/dist/cjs/scripts/addStandardJob-9.js";
import type { Redis } from "ioredis";

type NewJobs = Parameters<RedisQueueBackend["addJobs"]>[0];

/** Jobs that one call of Redis adds at the most: for so long nobody else is served, some 2 ms. */
const MOST = 100;
/** Of the script, for each job: its place, its data, its options. */
const ARGUMENTS = 3;
const COMMAND = "addStandardJobs";

/** BullMQ's own script, for each of several jobs. */
const SCRIPT = `
local function add(KEYS, ARGV)
${addStandardJob.content}
end
local ids = {}
for i = 1, #ARGV, ${ARGUMENTS} do
  ids[#ids + 1] = add(KEYS, { unpack(ARGV, i, i + ${ARGUMENTS - 1}) })
end
return ids
`;

/**
 * BullMQ's way to Redis, where jobs that are added together and are to begin at once go in one call: a script a job, as BullMQ has it,
 * costs this process three times as much. What gets into Redis is the same.
 */
export function backendOn(redis: Redis): BackendFactory<RedisQueueBackend> {
  redis.defineCommand(COMMAND, { numberOfKeys: addStandardJob.keys, lua: SCRIPT });
  const commands = redis as unknown as Record<typeof COMMAND, (...args: unknown[]) => Promise<string[]>>;

  return (name, options, settings) => {
    const backend = createRedisBackend(name, options, settings);
    const addEach = backend.addJobs.bind(backend);

    /** The keys and arguments that BullMQ adds these with; undefined where one of them wants another script. */
    function standard(jobs: NewJobs): { keys: unknown[]; args: unknown[][] } | undefined {
      const calls: { script: string; args: unknown[] }[] = [];
      const noted = { runCommand: (script: string, args: unknown[]) => void calls.push({ script, args }) };
      for (const { job, jobId, parentKeyOpts } of jobs)
        void backend.addJobToTransaction(noted as never, job, jobId, parentKeyOpts);
      if (!calls.every(({ script }) => script.startsWith("addStandardJob:"))) return undefined;
      return {
        keys: calls[0]?.args.slice(0, addStandardJob.keys) ?? [],
        args: calls.map(({ args }) => args.slice(addStandardJob.keys)),
      };
    }

    backend.addJobs = async (jobs) => {
      const calls = jobs.length > 1 ? standard(jobs) : undefined;
      if (!calls) return addEach(jobs);
      // As before any call of its own.
      await backend.waitUntilReady();
      const parts = Array.from({ length: Math.ceil(jobs.length / MOST) }, (_, i) =>
        calls.args.slice(i * MOST, (i + 1) * MOST),
      );
      return (await Promise.all(parts.map((part) => commands[COMMAND](...calls.keys, ...part.flat())))).flat();
    };
    return backend;
  };
}
