const NAME = /^[A-Za-z][A-Za-z_]*(\/[A-Za-z0-9_+-]+)+$|^UTC$/;

/** Whether it names an IANA zone. No bare offsets: Postgres and JavaScript read their signs the other way round. */
export function isTimeZone(name: string): boolean {
  if (!NAME.test(name)) return false;
  try {
    return new Intl.DateTimeFormat("en", { timeZone: name }).resolvedOptions().timeZone !== "";
  } catch {
    return false;
  }
}

/** For whoever gave something else. */
export const NO_TIME_ZONE = "must be a time zone of the IANA's, such as Europe/Paris";
