FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
COPY dev/embedded/package.json dev/embedded/
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src src
COPY console console
COPY supabase/migrations supabase/migrations
# Whoever has checked out under a strict umask: the user `node` reads these.
RUN npm run build && chmod -R a+rX console supabase package.json

FROM node:24-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
COPY dev/embedded/package.json dev/embedded/
# The embedded Redis, Postgres and PostgREST are development dependencies: none of them comes along. The compiler would, with
# its 31 MB: a dependency of Bull Board names it as an optional peer, and npm keeps what could be one.
RUN npm ci --omit=dev && rm -rf node_modules/typescript node_modules/@typescript node_modules/.bin/tsc

FROM node:24-slim
# tini is process 1: it passes SIGTERM on to node, which drains, and reaps whatever node leaves behind.
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY --from=build /app/console console
COPY --from=build /app/package.json ./
# What `node dist/doctor.js` compares the database with.
COPY --from=build /app/supabase supabase
USER node
EXPOSE 3000
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT || 3000}/health`).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["tini", "--"]
# Not npm: it would stand between the signal and the service.
# A heap that grows slowly: a hunt of 100,000 contacts is planned within 204 MB instead of 369 (bench/RESULTS.md).
CMD ["node", "--max-semi-space-size=4", "--heap-growing-percent=60", "dist/index.js"]
