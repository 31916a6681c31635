import { hash, timingSafeEqual } from "node:crypto";
import type { NextFunction, Request, Response } from "express";
import { stateOf } from "./context.ts";
import { httpProblem } from "./problems.ts";

/** Finds the API secret that a caller named. */
export interface SecretCheck {
  /** The secret's place in the list, or -1. Takes the same time whichever matches, or none. */
  indexOf(candidate: string): number;
}

/** Throws when no secret, or an empty one, is given: everybody or nobody would get in. */
export function createSecretCheck(secrets: readonly string[]): SecretCheck {
  if (secrets.length === 0 || secrets.some((secret) => secret.trim() === "")) {
    throw new Error("createApp needs at least one API secret, and none may be empty");
  }
  const digests = secrets.map(digest);
  return {
    indexOf(candidate) {
      const given = digest(candidate);
      let found = -1;
      // Digests are of one length, so nothing is learnt of a secret's; every one is compared, so nothing of its place.
      for (let index = 0; index < digests.length; index++) {
        if (timingSafeEqual(given, digests[index]!)) found = index;
      }
      return found;
    },
  };
}

function digest(text: string): Buffer {
  return hash("sha256", text, "buffer");
}

/** Both, for a route that further tokens open. */
export function eitherOf(first: SecretCheck, second: SecretCheck): SecretCheck {
  return { indexOf: (candidate) => Math.max(first.indexOf(candidate), second.indexOf(candidate)) };
}

/** Throws 401 unless `Authorization` is `Bearer` and one of the secrets. */
export function requireBearer(secrets: SecretCheck, authorization: string | undefined): void {
  const token = authorization === undefined ? undefined : /^Bearer +(\S+)$/i.exec(authorization)?.[1];
  if (token !== undefined && secrets.indexOf(token) >= 0) return;
  throw httpProblem(
    "unauthorized",
    token === undefined
      ? 'Send the header "Authorization: Bearer <API secret>". A token in the query is not looked at.'
      : "This API secret is not known. It may have been rotated out.",
    {
      headers: {
        "WWW-Authenticate": `Bearer realm="auto-prospect"${token === undefined ? "" : ', error="invalid_token"'}`,
      },
    },
  );
}

/** `requireBearer` in front of a whole path, whatever stands behind it. */
export function bearerGate(secrets: SecretCheck) {
  return (request: Request, response: Response, next: NextFunction): void => {
    requireBearer(secrets, request.headers.authorization);
    stateOf(response).authenticated = true;
    next();
  };
}
