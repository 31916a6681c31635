#!/bin/sh
# For compose.yaml: prepares a plain Postgres as a Supabase project is, and applies the migrations that it lacks, by name,
# each in one transaction with its record; a PostgREST that runs reads the schema anew then. PGHOST, PGUSER and PGPASSWORD say
# where; PGPASSWORD is authenticator's as well.
set -eu
run() { psql --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"; }

{
  echo "begin; select set_config('stack.password', :'password', true) \\g /dev/null"
  cat "${ROLES:-/roles.sql}"
  echo "commit;"
} | run --set "password=$PGPASSWORD"

# The files have been arranged anew since. What has all of those of before is up to date; what has only some cannot be told apart.
halfway=$(echo "select 1 from supabase_migrations.schema_migrations
  having bool_or(version = '20261121000001') and not bool_or(version = '20261122000120')" | run)
if [ "$halfway" = 1 ]; then
  echo "This database was made by an older release and lacks some of its migrations, which have been arranged anew since:" \
    "run the release before this one on it first." >&2
  exit 1
fi

for file in "${MIGRATIONS:-/migrations}"/*.sql; do
  name=$(basename "$file" .sql)
  version=${name%%_*}
  known=$(echo "select 1 from supabase_migrations.schema_migrations where version = :'version'" | run --set "version=$version")
  if [ "$known" = 1 ]; then continue; fi
  echo "applying $name"
  {
    echo "begin;"
    cat "$file"
    printf "\n;insert into supabase_migrations.schema_migrations (version, name) values (:'version', :'name');\nnotify pgrst, 'reload schema';\ncommit;\n"
  } | run --set "version=$version" --set "name=${name#*_}"
done
