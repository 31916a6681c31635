/** BullMQ tells the types of its scripts beside the other build of them. */
declare module "bullmq/dist/cjs/scripts/addStandardJob-9.js" {
  export const addStandardJob: { content: string; keys: number };
}
