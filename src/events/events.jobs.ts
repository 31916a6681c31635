import { z } from "zod";

export const WEBHOOKS_QUEUE = "webhooks";

/** One attempt of a delivery. What is sent where stands in the ledger alone. */
export const deliveryJobSchema = z.object({ deliveryId: z.string().regex(/^\d+$/) });
export type DeliveryJob = z.output<typeof deliveryJobSchema>;
