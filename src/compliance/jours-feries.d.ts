/** The package comes without types. */
declare module "@socialgouv/jours-feries" {
  /** Each holiday of a year by its French name, at midnight of the process' own zone. */
  function joursFeries(year: number, options?: { alsace: boolean }): Record<string, Date>;
  export = joursFeries;
}
