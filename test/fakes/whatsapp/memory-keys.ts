import type { SignalDataSet, SignalDataTypeMap } from "@whiskeysockets/baileys";

/** Signal keys that live as long as the process. */
export function memoryKeys() {
  let values = new Map<string, unknown>();
  return {
    /** Returns what takes the keys back to where they are now, as if the writes since had been lost. */
    snapshot(): () => void {
      const copy = new Map(values);
      return () => {
        values = copy;
      };
    },
    get<T extends keyof SignalDataTypeMap>(type: T, ids: string[]): Record<string, SignalDataTypeMap[T]> {
      const found = ids.map((id) => [id, values.get(`${type}/${id}`)] as const);
      return Object.fromEntries(found.filter(([, value]) => value !== undefined)) as Record<
        string,
        SignalDataTypeMap[T]
      >;
    },
    set(data: SignalDataSet): void {
      for (const [type, entries] of Object.entries(data)) {
        for (const [id, value] of Object.entries(entries ?? {})) {
          if (value === null) values.delete(`${type}/${id}`);
          else values.set(`${type}/${id}`, value);
        }
      }
    },
  };
}
