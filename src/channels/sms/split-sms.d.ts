declare module "split-sms" {
  interface Split {
    characterSet: "GSM" | "Unicode";
    parts: { bytes: number }[];
    /** GSM: septets. Unicode: octets. */
    bytes: number;
  }
  const splitSms: { split(message: string, options?: { summary?: boolean }): Split };
  export default splitSms;
}
